//! genesys-gateway files the after-call-work record of every accepted Genesys
//! Cloud conversation with a communication history manager: nothing lost,
//! nothing filed twice.
//!
//! A back office front end names a conversation; the gateway subscribes to its
//! after-call-work topic over notification channels (WebSockets), takes the
//! record when the platform announces it, once and never again, files it over
//! HTTP, and gives the topic up when the conversation is finished. What was
//! missed is rebuilt over REST.
//!
//! # The picture
//!
//! ```text
//!   BOFE ──POST──► gate ► http ──┐                          ┌── status ◄ gate ◄── operators
//!                                │ events (4,096)           │ the published snapshot
//!                                ▼                          │
//!   ┌──────────────────────── loop: owns the core ──────────┴───────────────┐
//!   │  gateway = proto (channels, topics, token, budget, gaps)              │
//!   │          + filing   (interactions, records, outbox, history manager)  │
//!   │  pure: one fact in, orders out until empty, next deadline             │
//!   └──┬──────────────┬───────────────┬───────────────────┬─────────────────┘
//!      │ orders (4)   │ jobs (4)      │ records (workers) │ orders (256 each)
//!      ▼              ▼               ▼                   ▼
//!    store          rest-1, rest-2  forward-1 … N      channel-01 … 20
//!   SQLite, one    ureq: token,     ureq: POST with    tungstenite, poll([socket,
//!   writer, group  channels,        Idempotency-Key    eventfd]); runs its socket's
//!   commit         conversations    └► history mgr     session  └► Genesys Cloud
//!      │              │               │                   │
//!      └──────────────┴── facts ──────┴───────────────────┘──► events
//! ```
//!
//! Besides: `main` waits for signals and speaks to the service manager; `http-N`
//! and `status-N` answer requests behind a gate that lets only clean ones
//! through (one short-lived thread for each connection, counted and capped).
//!
//! With several OAuth clients there is a *shard* for each: a core with its loop, channels, REST
//! workers and forwarders, all drawn once above. In front of them a router decides once which
//! conversation is whose ([`shell::router`]); behind them they share the store, whose thread
//! commits for all together.
//!
//! # The queues
//!
//! | Queue | Bound | When full |
//! |---|---|---|
//! | events → loop | 4,096 | callers are answered 503; workers and channel threads wait |
//! | loop → store | 4 | cannot be: one commit, one lookup, one set of channels outstanding |
//! | loop → rest | 4 | cannot be: at most four calls unanswered |
//! | loop → forward | `workers` | cannot be: at most that many posts unanswered |
//! | loop → a channel thread | 256 | the thread is stuck: its socket is given up, and that is a gap |
//! | a caller's answer | 1 | cannot be: one answer each |
//!
//! The loop never waits for anybody, so the graph has no cycle of waits.
//!
//! # What holds, always
//!
//! * Nothing in [`gateway`], [`proto`] and [`filing`] knows a socket, a
//!   file, a clock, a thread, a lock or an order that differs between two runs.
//! * No 2xx, no unsubscribe, no "delivered" before the commit behind it.
//! * A watched conversation is live, being subscribed, or due for a check; a gap
//!   of any cause is followed by a check of every conversation it touched.
//! * One wrap-up has one idempotency key, however often and by whatever way it
//!   is seen.
//! * Every queue, table, body, frame and log rate has a bound.
//! * Secrets have a type that does not print.
//!
//! [`guarantees`] is the table of what is promised to the outside, with what would notice a
//! breach; [`threat_model`] says who may talk to the gateway and what each could do.
//!
//! # Where things are, in reading order
//!
//! Each of these is a crate of its own, a folder of `src` with a manifest: what is not in the
//! manifest cannot be reached. [`base`], [`proto`] and [`filing`] are pure.
//!
//! ```text
//!   base ◄── proto ◄── notifications ◄─┐   base: plain values: ids, instants, secrets, rows,
//!     ▲ ▲ ▲                            │         readers of foreign bytes
//!     │ │ └─── filing ◄────────────────┤   proto (folder notifications-proto): channels, topics,
//!     │ └───── store ◄─────────────────┤         token, budget, gaps
//!     └─────── simulator ◄─────────────┤   notifications: their sockets, TLS, proxies, REST
//!                                      │   filing: interactions, records, outbox, history manager
//!                  genesys-gateway ────┘   store: SQLite; simulator: the platform for tests, demo
//! ```
//!
//! This crate joins them. Its own rooms: first the core, then what surrounds it.

pub mod gateway;

pub mod shell;
pub mod status;
pub mod asset;
pub mod agent_desktop;

pub mod config;
pub mod cli;
pub mod service;
pub mod run;
pub mod listen;

pub mod demo;

pub mod guarantees;
pub mod threat_model;

#[cfg(any(test, feature = "windows"))]
pub mod fuzzing;
