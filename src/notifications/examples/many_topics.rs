//! Any number of topics for an OAuth client, kept over a restart:
//! `cargo run --example many_topics -- REGION CLIENT_ID CLIENT_SECRET TOPIC…`
//!
//! Without arguments it talks to a simulated platform with 1,500 conversations.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use genesys_notifications::{Client, Item, Keeper, KeptChannel};

/// Channels in a file of ours, so that the next run re-attaches to them.
struct File(PathBuf);

impl Keeper for File {
    fn load(&mut self) -> Vec<KeptChannel> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().filter_map(KeptChannel::from_line).collect()
    }

    fn keep(&mut self, channels: &[KeptChannel]) {
        let lines: Vec<String> = channels.iter().map(KeptChannel::to_line).collect();
        // In a place that nobody else may read: it gives access to the notifications.
        if let Err(error) = fs::write(&self.0, lines.join("\n")) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [region, id, secret, topics @ ..] = &arguments[..] {
        let client = Client::builder()
            .region(region)
            .client_credentials(id, secret)
            .keeper(File("channels.txt".into()))
            .connect()?;
        client.subscribe(topics.iter().cloned())?;
        return print(&client, None);
    }
    let platform = simulator::start(simulator::Options::default())?;
    let client = Client::builder()
        .hosts(&platform.api_url, &platform.login_url)
        .client_credentials(&platform.client_id, &platform.client_secret)
        .connect()?;
    let mut ids = Vec::new();
    for _ in 0..1500 {
        ids.push(platform.begin_conversation()?);
    }
    let topic = |id: &String| format!("v2.detail.events.conversation.{id}.acw");
    client.subscribe(ids.iter().map(topic))?;
    let mut live = 0;
    while live < ids.len() {
        if let Some(Ok(Item::Live { topics })) = client.recv() {
            live += topics.len();
        }
    }
    eprintln!("{live} topics are live");
    for id in &ids {
        platform.finish_conversation(id)?;
    }
    print(&client, Some(ids.len()))
}

/// Prints so many notifications, or all.
fn print(client: &Client, most: Option<usize>) -> Result<(), Box<dyn Error>> {
    let mut told = 0;
    for item in client {
        match item {
            Ok(Item::Notification { topic, body, .. }) => {
                println!("{topic} {body}");
                told += 1;
            }
            Ok(Item::Gap { topics, since, .. }) => {
                eprintln!(
                    "{} topics may have missed something since {since:?}",
                    topics.len()
                );
            }
            Ok(_) => {}
            Err(error) => eprintln!("{error}"),
        }
        if Some(told) == most {
            break;
        }
    }
    Ok(())
}
