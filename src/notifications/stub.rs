//! A small HTTP server for tests of the clients: real sockets, hand-written
//! answers, also wrong ones.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Got {
    /// Which connection, from 0.
    pub(super) connection: usize,
    pub(super) line: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

/// What to do with the connection after an answer was written.
pub(super) enum Then {
    Keep,
    Close,
}

pub(super) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

type Wrap = dyn Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync;

/// The server; its threads end with their connections.
pub(super) struct Stub {
    pub(super) port: u16,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Stub {
    pub(super) fn start(
        answer: impl Fn(&Got, &mut dyn Write) -> Then + Send + Sync + 'static,
    ) -> Stub {
        Stub::with(|tcp| Some(Box::new(tcp)), answer)
    }

    /// Over TLS; with `mutual`, only for who shows a certificate of the test authority.
    pub(super) fn start_tls(
        mutual: bool,
        answer: impl Fn(&Got, &mut dyn Write) -> Then + Send + Sync + 'static,
    ) -> Stub {
        let config = server_config(mutual);
        Stub::with(
            move |tcp| {
                let session = rustls::ServerConnection::new(config.clone()).unwrap();
                let mut stream = rustls::StreamOwned::new(session, tcp);
                stream.conn.complete_io(&mut stream.sock).ok()?;
                Some(Box::new(stream))
            },
            answer,
        )
    }

    fn with(
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
        answer: impl Fn(&Got, &mut dyn Write) -> Then + Send + Sync + 'static,
    ) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Arc::new(Mutex::new(Vec::new()));
        let (wrap, answer): (Arc<Wrap>, _) = (Arc::new(wrap), Arc::new(answer));
        let seen = got.clone();
        std::thread::spawn(move || {
            for (connection, tcp) in listener.incoming().enumerate() {
                let Ok(tcp) = tcp else { return };
                let (wrap, answer, seen) = (wrap.clone(), answer.clone(), seen.clone());
                std::thread::spawn(move || {
                    let _ = tcp.set_read_timeout(Some(Duration::from_secs(30)));
                    let Some(stream) = wrap(tcp) else { return };
                    let mut stream = BufReader::new(stream);
                    while let Some(request) = read_request(&mut stream, connection) {
                        seen.lock().unwrap().push(request.clone());
                        if let Then::Close = answer(&request, stream.get_mut()) {
                            return;
                        }
                    }
                });
            }
        });
        Stub { port, got }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(super) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

fn read_request(stream: &mut BufReader<Box<dyn Stream>>, connection: usize) -> Option<Got> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).ok().filter(|n| *n > 0)?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let length = headers
        .get("content-length")
        .map_or(0, |v| v.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Got {
        connection,
        line: line.trim_end().to_owned(),
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

/// Writes an answer with its length.
pub(super) fn reply(out: &mut dyn Write, status: u16, headers: &str, body: &[u8]) -> Then {
    let head = format!(
        "HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = out.write_all(&[head.as_bytes(), body].concat());
    let _ = out.flush();
    Then::Keep
}

pub(super) fn tls_file(name: &str) -> PathBuf {
    // Of whichever crate's tests this is part.
    let above = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let files = above.ancestors().map(|dir| dir.join("tests/tls"));
    let folder = files.into_iter().find(|dir| dir.is_dir());
    folder.expect("the folder of test files").join(name)
}

fn server_config(mutual: bool) -> Arc<rustls::ServerConfig> {
    let certificate =
        |name| CertificateDer::from_pem_slice(&std::fs::read(tls_file(name)).unwrap()).unwrap();
    let key = std::fs::read(tls_file("test-only-server.key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if mutual {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(certificate("test-only-ca.certificate.pem"))
            .unwrap();
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![certificate("test-only-server.certificate.pem")];
    let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}
