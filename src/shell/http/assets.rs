//! Files that are part of the program: pages, scripts, descriptions.

use super::exchange::{Exchange, Reply};

/// One file.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// The whole path under which it is served, such as `/agent-desktop/`.
    pub path: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub body: &'static [u8],
}

/// The asset at the path of the exchange, if there is one.
#[must_use]
pub fn find(assets: &'static [Asset], x: &Exchange) -> Option<&'static Asset> {
    assets.iter().find(|a| a.path == x.path)
}

impl Asset {
    /// It, as a reply: to be asked for again each time, so that an update shows.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let mut reply = Reply::new(200, self.content_type, self.body);
        for (name, value) in &mut reply.headers {
            if *name == "Cache-Control" {
                *value = String::from("no-cache");
            }
        }
        reply
    }
}
