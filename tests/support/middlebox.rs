//! What stands between the gateway and a server in real networks: a load balancer that ends
//! TLS and rewrites heads and bodies, or a proxy that is asked to `CONNECT`.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Changes the body of the answer to a path.
pub(crate) type Edit = Arc<dyn Fn(&str, &str) -> Vec<u8> + Send + Sync>;

/// What it does at the moment.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    /// Exactly this is answered to every upgrade.
    pub(crate) upgrade: Option<String>,
    /// The fields of a 101, instead of the server's; `KEY` stands for the right answer.
    pub(crate) switching: Option<String>,
    /// Put before every answer: interim ones.
    pub(crate) before: String,
    /// Put into the head of every answer.
    pub(crate) fields: String,
    /// Changes bodies.
    pub(crate) edit: Option<Edit>,
    /// Texts in WebSocket frames, each with another of the same length instead.
    pub(crate) frames: Vec<(&'static str, &'static str)>,
    /// Exactly this is answered to `CONNECT`.
    pub(crate) connect: Option<String>,
    /// The hosts to which that is answered begin so.
    pub(crate) connect_to: &'static str,
    /// `CONNECT` wants this `Proxy-Authorization`, else 407.
    pub(crate) credentials: Option<String>,
    /// Connections are closed at once.
    pub(crate) shut: bool,
    /// Where `connectUri`s lead, instead of straight to the server: `wss://name:port`.
    pub(crate) streaming: Option<String>,
}

struct State {
    manner: Manner,
    heads: Vec<String>,
}

/// Lives as long as the test process.
pub(crate) struct Middlebox {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// How long a pump waits for one side before it looks at the other.
const TURN: Duration = Duration::from_millis(5);

impl Middlebox {
    /// Before the server at `url`; with `tls` it speaks TLS to its clients.
    pub(crate) fn before(
        url: &str,
        tls: Option<Arc<ServerConfig>>,
        change: impl FnOnce(&mut Manner),
    ) -> Middlebox {
        let after_scheme = url.split("://").nth(1).unwrap();
        let server = after_scheme.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut manner = Manner::default();
        change(&mut manner);
        let state = Arc::new(Mutex::new(State {
            manner,
            heads: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                let (state, server, tls) = (Arc::clone(&shared), server.clone(), tls.clone());
                std::thread::spawn(move || {
                    let _ = connection(tcp, tls, &server, &state);
                });
            }
        });
        Middlebox { port, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Another manner from the next request on.
    pub(crate) fn turn(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.state().manner);
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state().heads.clone()
    }

    /// How many requests began so.
    pub(crate) fn asked(&self, start: &str) -> usize {
        let state = self.state();
        state.heads.iter().filter(|h| h.starts_with(start)).count()
    }
}

fn connection(
    tcp: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    server: &str,
    state: &Mutex<State>,
) -> io::Result<()> {
    if state.lock().unwrap().manner.shut {
        return Ok(());
    }
    tcp.set_nodelay(true)?;
    let timer = tcp.try_clone()?;
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(tcp),
        Some(config) => {
            let session = ServerConnection::new(config).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(session, tcp))
        }
    };
    serve(stream, &timer, server, state)
}

fn serve(
    mut near: Box<dyn Stream>,
    timer: &TcpStream,
    server: &str,
    state: &Mutex<State>,
) -> io::Result<()> {
    loop {
        let head = head(&mut near)?;
        let manner = {
            let mut state = state.lock().unwrap();
            state.heads.push(head.clone());
            state.manner.clone()
        };
        if head.starts_with("CONNECT ") {
            let wanted = manner.credentials.as_ref();
            let forbidden = head.starts_with(&format!("CONNECT {}", manner.connect_to));
            if let (true, Some(refusal)) = (forbidden, &manner.connect) {
                return near.write_all(refusal.as_bytes());
            }
            if wanted.is_some_and(|c| field(&head, "proxy-authorization") != Some(c)) {
                let wants = "HTTP/1.1 407 Proxy Authentication Required\r\n\
                    Proxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
                return near.write_all(wants.as_bytes());
            }
            let far = TcpStream::connect(server)?;
            near.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 box\r\n\r\n")?;
            return pump(near, timer, far, &[]);
        }
        let upgrade = field(&head, "upgrade").is_some();
        if let (true, Some(refusal)) = (upgrade, &manner.upgrade) {
            return near.write_all(refusal.as_bytes());
        }
        let mut far = TcpStream::connect(server)?;
        far.set_nodelay(true)?;
        far.write_all(head.as_bytes())?;
        far.write_all(&body(&mut near, &head)?)?;
        let mut answer = self::head(&mut far)?;
        while answer.starts_with("HTTP/1.1 1") && !answer.starts_with("HTTP/1.1 101") {
            near.write_all(answer.as_bytes())?;
            answer = self::head(&mut far)?;
        }
        if answer.starts_with("HTTP/1.1 101") {
            if let Some(fields) = &manner.switching {
                let key = field(&answer, "sec-websocket-accept").unwrap_or_default();
                let fields = fields.replace("KEY", key);
                answer = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n\r\n");
            }
            near.write_all(format!("{}{answer}", manner.before).as_bytes())?;
            return pump(near, timer, far, &manner.frames);
        }
        let text = String::from_utf8_lossy(&body(&mut far, &answer)?).into_owned();
        let text = match &manner.streaming {
            Some(to) => text.replace(&format!("ws://{server}"), to),
            None => text,
        };
        let path = head.split(' ').nth(1).unwrap_or_default();
        let text = match &manner.edit {
            Some(edit) => edit(path, &text),
            None => text.into_bytes(),
        };
        let mut lines = answer.trim_end().split("\r\n");
        let mut out = format!("{}{}\r\n", manner.before, lines.next().unwrap_or_default());
        for line in lines.filter(|l| !l.to_ascii_lowercase().starts_with("content-length")) {
            out += &format!("{line}\r\n");
        }
        out += &manner.fields;
        out += &format!("Content-Length: {}\r\n\r\n", text.len());
        near.write_all(&[out.as_bytes(), &text].concat())?;
        near.flush()?;
    }
}

fn head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (n, value) = line.split_once(':')?;
        n.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn body(stream: &mut impl Read, head: &str) -> io::Result<Vec<u8>> {
    let length = field(head, "content-length").and_then(|l| l.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Passes bytes both ways until one side has ended.
fn pump(
    mut near: Box<dyn Stream>,
    timer: &TcpStream,
    mut far: TcpStream,
    frames: &[(&str, &str)],
) -> io::Result<()> {
    timer.set_read_timeout(Some(TURN))?;
    far.set_read_timeout(Some(TURN))?;
    let mut block = [0; 16 * 1024];
    loop {
        for forth in [true, false] {
            let read = match forth {
                true => near.read(&mut block),
                false => far.read(&mut block),
            };
            match read {
                Ok(0) => return Ok(()),
                Ok(n) if forth => far.write_all(&block[..n])?,
                Ok(n) => {
                    for (from, to) in frames {
                        replace(&mut block[..n], from.as_bytes(), to.as_bytes());
                    }
                    near.write_all(&block[..n])?;
                    near.flush()?;
                }
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

fn replace(block: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len(), "frames keep their lengths");
    for at in 0..block.len().saturating_sub(from.len() - 1) {
        if block[at..].starts_with(from) {
            block[at..at + to.len()].copy_from_slice(to);
        }
    }
}
