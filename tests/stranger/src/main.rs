use genesys_notifications::{Channel, Error, Item};
use genesys_simulator as simulator;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let platform = simulator::start(simulator::Options::default())?;
    let id = platform.begin_conversation()?;
    let topic = format!("v2.detail.events.conversation.{id}.acw");
    let channel = Channel::connect(&platform.make_channel()?, [topic])?;
    for item in &channel {
        match item? {
            Item::Live { topics } => {
                println!("live: {topics:?}");
                platform.finish_conversation(&id)?;
            }
            Item::Notification { topic, body, .. } => {
                println!("{topic} {body}");
                return Ok(());
            }
            other => println!("{other:?}"),
        }
    }
    Err(Box::<Error>::from(channel.recv_timeout(Default::default()).unwrap_err()))
}
