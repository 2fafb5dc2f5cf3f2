//! Deliberate breakages between core and world: each must be caught.

use genesys_gateway::filing::rows::Recovered;
use genesys_gateway::gateway::{Input, Output};
use genesys_gateway::ids::RecordId;

/// Alters what goes in and comes out.
pub(crate) trait Sabotage {
    fn input(&mut self, input: Input) -> Vec<Input> {
        vec![input]
    }
    fn output(&mut self, output: Output) -> Vec<Output> {
        vec![output]
    }
    fn recovered(&mut self, _recovered: &mut Recovered) {}
    fn key(&mut self, record: RecordId) -> RecordId {
        record
    }
}
