//! Callers of the intake: connections that are kept, one request after the other.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// One connection.
pub(crate) struct Caller {
    stream: TcpStream,
    buffer: [u8; 4096],
}

impl Caller {
    pub(crate) fn new(at: &str) -> Caller {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_nodelay(true).unwrap();
        Caller {
            stream,
            buffer: [0; 4096],
        }
    }

    /// Reports a conversation; how long the answer took.
    pub(crate) fn report(&mut self, id: &str) -> Duration {
        let body = format!(
            "{{\"conversationId\":\"{id}\",\"customerNumber\":\"C-004711\",\"topic\":\"invoice\"}}"
        );
        self.post("/customers/supportInteraction", &body)
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> Duration {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let began = Instant::now();
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut got = 0;
        loop {
            let n = self.stream.read(&mut self.buffer[got..]).unwrap();
            assert!(n > 0, "the connection was closed");
            got += n;
            let text = std::str::from_utf8(&self.buffer[..got]).unwrap();
            if let Some((head, rest)) = text.split_once("\r\n\r\n") {
                assert!(head.starts_with("HTTP/1.1 20"), "{text}");
                let length: usize = head
                    .lines()
                    .find_map(|l| l.strip_prefix("Content-Length: "))
                    .and_then(|l| l.parse().ok())
                    .unwrap();
                if rest.len() >= length {
                    return began.elapsed();
                }
            }
        }
    }
}

/// All are reported over so many connections; how long it took, and each answer.
pub(crate) fn report_all(
    at: &str,
    ids: &[String],
    connections: usize,
) -> (Duration, Vec<Duration>) {
    let began = Instant::now();
    let share = ids.len().div_ceil(connections);
    let mut each = std::thread::scope(|scope| {
        let workers: Vec<_> = ids
            .chunks(share)
            .map(|ids| {
                scope.spawn(move || {
                    let mut caller = Caller::new(at);
                    ids.iter().map(|id| caller.report(id)).collect::<Vec<_>>()
                })
            })
            .collect();
        let answered = workers.into_iter().map(|w| w.join().unwrap());
        answered.flatten().collect::<Vec<_>>()
    });
    let took = began.elapsed();
    each.sort();
    (took, each)
}
