//! Who may talk to the gateway, what each could want, what stops them, and what is left to the
//! operator.
//!
//! # What is worth something
//!
//! * **The record is complete and true**: nobody can make a wrap-up disappear, or file one in
//!   somebody's name, or keep the gateway from its work.
//! * **Personal data**: notes and numbers in the members of an interaction and in records.
//! * **Secrets**: with the OAuth client's secret or the signing key one is the gateway, or any
//!   user of the organisation, at the platform.
//!
//! # Who may talk to what
//!
//! | Who | What they could want | What stops them | What is left |
//! |---|---|---|---|
//! | Callers of the intake (`[http] listen`) | to name conversations that are none, to fill memory and tables, to read what others sent | tokens, looked at before a body is read; bounds and shares of the gate (below); strict JSON; bounds of every table | All tokens are equal: who has one may report, read and stop every conversation. One token for each caller, so that one can be taken back |
//! | Whoever reaches the intake's address, without a token | to guess one; to hold seats and memory; to get a request past the gate that the server behind it reads otherwise | digests of equal length are compared to the end, wrong tokens are counted and slowed; who waits for nothing makes room; one request at a time goes on, in a canonical form | A firewall. `GET /openapi.json` and the page of Agent Desktop are answered without a token: they hold nothing of anybody |
//! | Who reaches the intake where it has the page of Agent Desktop (`access = "page"`) | to be given a token of the page without being an agent; to read or report with it | a browser gives one to the page alone (`Sec-Fetch-Site`, `Origin`), and to 60 a minute of one address; it is good for ten minutes, for reporting, and for reading what was reported with it or the tokens before it; pages of other origins can do nothing with one they got hold of; tables of what was reported have a bound | Programs say what they like: the page belongs behind the company's network or its sign-on proxy, or has `access = "token"` |
//! | Operators (`[status] listen`) | they may see states, errors and bodies of records, and retry or discard them | tokens as above; without them this machine alone; acts are refused to pages of other origins | Who may log in to the machine |
//! | Other users of this machine | all that callers and operators may, where there is no token | nothing on a loopback address; on a unix socket its mode (0660) and the directory above it | See "Loopback without a token" |
//! | Pages in a browser on this machine | to file or read through the browser, by a name of theirs that leads to 127.0.0.1 | without tokens only names of this machine are taken as `Host`; no page of another origin reads an answer unless `allowed-origins` lists it; a report has to be JSON, for which a browser asks beforehand | Do not browse on the machine |
//! | The network in between | to read, to alter, to lead elsewhere | TLS 1.2 or newer outward, certificates and names are verified, no redirect is ever followed, the environment's proxy variables are not read | The operators' listener speaks plain HTTP, and the intake does without `[http] certificate-file`: on other than loopback addresses give it one, or put a proxy that speaks TLS before them. `http://` to the platform is refused but to loopback; to the history manager it is the operator's choice |
//! | The platform, and whatever answers in its name | to crash or fill us, to have us say secrets | frames of 1 MiB and answers of 8 MiB at most; odd text spoils only what needs it; its words are bounded, on one line, without secrets, shown and never believed | Whom `api-url` and `ca-file` trust. Where a channel's socket is (`connectUri`) the platform says; with an `https` API only `wss` to hosts of the region's domain, to the API's own and the `streaming.` beside it, or to `streaming-hosts` is dialled |
//! | The login host | to have the assertion, the secret | it gets them; they go to `login-url` alone | As above |
//! | The history manager | to have us believe it filed what it did not; to hang us | the status line alone decides; one try at a time for each record, within `timeout`; an answer is read up to 64 KiB, 200 characters of it are kept for people | It gets all records: its 2xx is the end of our care. It has to tell keys apart |
//! | The proxy (`[genesys] proxy`) | to see who is talked to; to keep us from it | it carries TLS from end to end; its answer has 8 KiB at most | A proxy that opens TLS needs its authority in `ca-file`, and sees everything |
//! | Who can read the disk or its copies | personal data, channels | the database and all beside it are of one user, mode 0600, no links, in a directory where nobody else may write, below directories of that user or root where nobody else may replace it (sticky ones aside); bodies are overwritten when they have served | Encryption of the disk, and of copies: they hold what had not been erased when they were made |
//!
//! # Loopback without a token
//!
//! Both listeners may do without tokens on a loopback address. That means **every local user and
//! every program on the machine** may do what a caller, or an operator, may: a shell of another
//! service, a job, a container that shares the host's network. Browsers are kept out as told
//! above, but only pages: what else runs beside the browser is not. Where the machine is not the gateway's alone,
//! set `api-tokens-file`, or listen on a unix socket, whose group says who may connect.
//! `POST /events/after-call-work` needs a token in any case: what comes there is filed as the
//! platform's word.
//!
//! # Seats, and who shares them
//!
//! The intake has 512 seats (connections), 128 for one peer, and answers 64 requests at a time;
//! the operators' listener has 64, 32 for one peer, 16 at a time, and 4 more for `/healthz` and
//! `/readyz` alone. A peer is an IPv4 address, an IPv6 /64, this machine whatever its loopback
//! address, a user on a unix socket. When seats are short, the connection that has waited for nothing
//! the longest makes room; one that is being answered is never disturbed. One that stands in line for
//! that, or has just moved something, makes room for peers that have fewer seats (or less memory) than
//! its own. Under a low limit on open files the seats and the share of a peer shrink together.
//!
//! Of the requests that are answered at a time a peer may have seven times as many as places are left
//! free beside one: seven eighths where it is alone, somewhat less than half each of two, and so on. The rest waits in line for 5 seconds, where those
//! go first whose peer has fewest under way, and is answered `503` after that. So whoever fetches many
//! large answers, or fills the line, keeps nobody else waiting.
//!
//! A request of the page for news waits, for 25 seconds at most, and has a place of its own for that:
//! 600 in all, 525 for one peer, beside the seats, which it leaves to others. Beyond them the page is
//! told to come again in two seconds.
//!
//! **Behind a reverse proxy or NAT all callers are one peer**: `Forwarded` and `X-Forwarded-For`
//! are not believed, since anybody can send them. They share 128 seats, half of the memory and, while
//! nobody else asks, 56 requests at a time, and a
//! proxy that keeps many idle connections makes room for itself. Let it keep fewer than 128, and
//! count requests for each client there.
//!
//! Bodies and answers may take 64 KiB for each connection without asking; what goes beyond comes from
//! 64 MiB for each listener, half of it for one peer. Who finds none is answered `503` with
//! `Retry-After`.
//!
//! # Quotas
//!
//! The gate bounds what is there at once, not how often something comes: a caller that keeps
//! inventing conversation ids takes places on channels (1,000 each) from others, and from 200,000 live
//! interactions on all callers are answered `503`.
//!
//! Where places are short, conversations that the platform does not know give theirs to those that
//! wait: asked for twice, a minute apart, 404 both times, and nothing ever heard of them. Those that
//! exist go first, so that one that is reported into a flood has its place within two minutes, as
//! long as REST answers; after the unknown ones those give way that are over and only linger. Who
//! gave way is not given up: it is asked about, rebuilt over REST, and has a place again when there
//! are more than enough. Where the platform answers 404 to what is known to exist (conversations of
//! divisions that the client may not see), 404 proves nothing, and for an hour nobody gives way.
//! Places on a channel that cannot be had for long (the platform or a proxy refuses it, or its
//! socket) are no places to come as long as another channel serves.
//! While questions about places are due they have at most every other question to REST, so a flood
//! slows the search for what was missed in a gap down to half.
//!
//! What has ended is bounded by number as well as by `retain`: beyond 2,000,000 ended interactions
//! the oldest of those go that were stopped, refused or expired without a record, said as
//! `ended-bound`; what records and keys need stays. Beyond 5,000,000 delivered or discarded records
//! support results are answered `503`; what the platform announces is taken all the same.
//!
//! `[http] accepts-per-minute` bounds the new conversations of one token, or of one
//! peer where there are no tokens; it is off by default, and recommended where several callers
//! share the listener.
//!
//! # The most memory
//!
//! With the settings as shipped (`max-body` 64 KiB, 4 workers, 20 channels), if everything is at its
//! bound at the same moment:
//!
//! | What | Reckoned as | MiB |
//! |---|---|---|
//! | Intake: connections | (512 seats + 64 leaving) × 368 KiB: stack 256, head 2 × 16, buffers 16, body or answer 64 | 207 |
//! | Intake: pages that wait for news, with `[agent-desktop]` | 600 × 368 KiB | 215 |
//! | Intake: larger bodies and answers | `memory` | 64 |
//! | Intake: requests behind the gate | 64 × (4 × `max-body` + members 4 MiB + answer 8 MiB) | 784 |
//! | Operators: connections | (64 + 4 + 64) × 368 KiB | 47 |
//! | Operators: larger answers | `memory` | 64 |
//! | Operators: requests behind the gate | 16 × (4 × 1 KiB + 4 MiB + 8 MiB) | 192 |
//! | Undelivered records | 1,000,000 × 600 bytes; their bodies are on disk | 572 |
//! | Live interactions | 200,000 × 1 KiB; their members are on disk | 195 |
//! | Taken and not yet committed | 64 MiB of bodies + 4 orders × 4 MiB | 80 |
//! | Channels | 20 × (a frame of 1 MiB + 4 MiB unsent) | 100 |
//! | REST | 4 calls × 3 × 8 MiB: text, tree, what is made of it | 96 |
//! | Forwarders | `workers` × 3 × (members 4 MiB + event 1 MiB) | 60 |
//! | Sum | | 2676 |
//!
//! Stacks count as if they were used to the end; an ordinary day needs a small part of this. The unit
//! sets `MemoryMax=` above the sum: beyond it is a defect or a flood that no bound foresaw, and
//! a gateway that is killed for it and restarted loses nothing. Each MiB of `max-body` adds
//! 256 MiB, each of `workers` 15 MiB. Not in the sum: with TLS a connection of the intake takes up to
//! 52 KiB more (a record each way, and one in pieces), 60 MiB in all; 4,096 facts between threads, 1 KB each, of
//! which a platform gone mad could make 1 MiB each; and SQLite's caches, some MiB for each of
//! its connections (1 writes, 33 read at most).
//!
//! What a burst of large bodies took goes back to the system within seconds, as the unit has the
//! gateway run: its `Environment=` keeps the allocator from holding on to it. Sixty bodies of 3.9 MiB
//! at once took a gateway from 25 to 86 MiB, and back to 28; without these settings to 146, and
//! 131 were left after ten seconds (`tests/siege`, `memory`). Who starts it otherwise sets the same.
//!
//! # Under siege
//!
//! `tests/siege` (`under_siege_good_callers_are_answered_records_are_filed_and_nothing_grows`) throws
//! at the real binary what rows 1 and 2 of the table above could want, one after the other and then
//! all at once, while a caller on another address reports a conversation twice a second and health is
//! asked for four times a second; every record has to be filed, once. It takes half a minute, or what
//! `SIEGE_SECONDS` says, and prints a table. This is of half an hour against a release build, on two
//! cores that built, tested and simulated something else meanwhile:
//!
//! | Attack | Sent | Slowest report, health (ms); none refused | MiB before, most, after | Threads | Descriptors |
//! |---|---|---|---|---|---|
//! | All at once, to warm up, 223 s | 55049 | 205, 18 | 19, 70, 41 | 104 to 123 | 27 to 103 |
//! | Connections silent after one request, nine addresses | 4622 | 28, 14 | 41, 42, 42 | 123 | 103 to 105 |
//! | The same to the operators' listener | 4275 | 697, 39 | 42, 42, 42 | 123 | 105 to 107 |
//! | Bodies of 4 MiB never finished, 40 at a time | 1000 | 41, 15 | 42, 73, 42 | 123 | 107 |
//! | Bodies of 4 MiB, a byte every 20 ms, 24 at a time | 443 | 149, 12 | 42, 62, 42 | 123 | 107 |
//! | Answers of 3 MiB never read, 24 at a time | 96 | 22, 10 | 42, 50, 42 | 123 | 107 |
//! | Invented ids, two a second | 179 | 20, 13 | 42, 42, 42 | 123 | 107 |
//! | POST and DELETE in turn, ever new ids | 5466 | 2523, 198 | 42, 42, 42 | 123 | 107 |
//! | Guessed tokens, 32 at a time | 965 | 13, 9 | 42, 42, 42 | 123 | 107 |
//! | Folded, smuggled, broken requests | 1734 | 40, 9 | 42, 42, 42 | 123 | 107 |
//! | The wrong `Host` | 2529 | 127, 9 | 42, 42, 42 | 123 | 107 |
//! | All at once, 890 s | 218324 | 527, 15 | 42, 91, 51 | 123 | 107 |
//!
//! Of the 4,000 records of the good caller 171 were not filed when the last attack ended, the oldest
//! for 93 seconds, since invented ids had all places and they came over REST alone; the last was
//! filed 84 seconds later. Two files lay in the temporary directory throughout. That memory goes
//! back is shown by `after_a_burst_of_bodies_of_four_megabytes_memory_goes_back_within_ten_seconds`
//! in the same place; each attack has tests of its own in `tests/gate.rs`, `tests/listeners`,
//! `tests/intake` and `end_to_end::places`.
//!
//! Threads and descriptors that stay are of channels, which invented ids have opened.
//! Large answers cost the processor: who has a token and asks for many of them slows others down.
//!
//! # Which secrets lie where
//!
//! | Secret | At rest | In memory | Goes to |
//! |---|---|---|---|
//! | OAuth client secret | a file or credential; `check` warns where others may read it | as long as it runs | the login host |
//! | Signing key of assertions | likewise | likewise | nobody; the assertion goes to the login host |
//! | Access token | nowhere | until it ends | the API host |
//! | `connectUri` and channel id | the database | as long as the channel lives | the streaming host |
//! | API tokens of callers and operators | files as above | as SHA-256 digests | nobody |
//! | Token or client key for the history manager | files as above | as long as it runs | the history manager; the key to nobody |
//!
//! Secrets have a type that does not print. Words of the login host, where ours might be echoed, lose
//! every run of 32 characters or more that could be one. A secret is overwritten
//! in memory when it is replaced or goes; copies that libraries make of what they send, and of
//! what they read from a file or an answer, are not. The unit forbids core dumps (`LimitCORE=0`); a debugger of root sees everything.
//!
//! # Whose words are believed
//!
//! Nobody's. The words of login host, platform, proxy and history manager are shown to people (log, `/status`,
//! `lastError`, the command line), cut to a line of bounded length, with characters that
//! cannot be seen or turn text escaped or left out. What is decided, is decided by status codes, by what
//! the protocol says a member means, and by our own clock.
//!
//! # Out of scope
//!
//! * Root, and the gateway's own user, on the machine: they are the gateway.
//! * A caller with a valid token who reports falsely, or stops what others report.
//! * A platform that announces what nobody did, or a history manager that answers 2xx and forgets.
//! * Floods that fill the line or the kernel's tables: that is the network's to stop.
//! * What the history manager and the journal do with what they are given.
//! * Power loss on a disk that acknowledges what it has not written.

#[cfg(test)]
mod tests;
