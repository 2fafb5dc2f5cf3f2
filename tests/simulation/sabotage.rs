//! Where a deliberate breakage takes hold, between core and world.

use base::ids::RecordId;
use base::rows::Recovered;
use filing::{Farewell, HistoryState, Settings};
use genesys_gateway::gateway::{Input, Output};
use proto::connect_uri::Streaming;
use proto::rollover::Replacement;

use crate::agenda::Time;

/// Alters what goes in and comes out.
pub(crate) trait Sabotage {
    fn input(&mut self, input: Input) -> Vec<Input> {
        vec![input]
    }
    fn output(&mut self, output: Output) -> Vec<Output> {
        vec![output]
    }
    /// What is said without an occasion.
    fn more(&mut self) -> Vec<Output> {
        Vec::new()
    }
    fn recovered(&mut self, _recovered: &mut Recovered) {}
    fn settings(&mut self, _settings: &mut Settings) {}
    /// Where channels may lead.
    fn streaming(&self, streaming: Streaming) -> Streaming {
        streaming
    }
    fn key(&mut self, record: RecordId) -> RecordId {
        record
    }
    fn lies(&mut self) -> bool {
        false
    }
    fn farewell(&mut self, _left: &mut Farewell) {}
    /// It makes calls of its own, for which nobody waits.
    fn calls(&self) -> bool {
        false
    }
    /// What is said of the history manager: its state, and whether it is closed to us.
    fn said(&self, said: (HistoryState, bool)) -> (HistoryState, bool) {
        said
    }
    /// Which channels are to be replaced, and which already are.
    fn replacements(&mut self, _all: &mut [Replacement]) {}
    fn due(&mut self, due: Option<Time>) -> Option<Time> {
        due
    }
}
