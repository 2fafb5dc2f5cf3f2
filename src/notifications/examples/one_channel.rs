//! One channel, whoever made it: `cargo run --example one_channel -- CONNECT_URI TOPIC…`
//!
//! Without arguments it talks to a simulated platform, on which a conversation is wrapped up.

use std::error::Error;

use genesys_notifications::{Channel, Item};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [connect_uri, topics @ ..] = &arguments[..] {
        return print(&Channel::connect(connect_uri, topics.to_vec())?, None);
    }
    let platform = simulator::start(simulator::Options::default())?;
    let id = platform.begin_conversation()?;
    let topic = format!("v2.detail.events.conversation.{id}.acw");
    let channel = Channel::connect(&platform.make_channel()?, [topic])?;
    // What is announced before a topic is live is announced to nobody.
    while !matches!(channel.recv(), Some(Ok(Item::Live { .. }))) {}
    platform.finish_conversation(&id)?;
    print(&channel, Some(1))
}

/// Prints so many notifications, or all until the channel is over.
fn print(channel: &Channel, most: Option<usize>) -> Result<(), Box<dyn Error>> {
    let mut told = 0;
    for item in channel {
        match item {
            Ok(Item::Notification { topic, body, .. }) => {
                println!("{topic} {body}");
                told += 1;
            }
            Ok(other) => eprintln!("{other:?}"),
            // Told between items: it goes on.
            Err(error) if !error.is_permanent() => eprintln!("{error}"),
            Err(error) => return Err(error.into()),
        }
        if Some(told) == most {
            break;
        }
    }
    Ok(())
}
