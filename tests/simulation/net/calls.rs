//! REST calls on their way there and back, and what the answers may give away.

use base::secret::Secret;
use base::wire::{NoAnswer, Request, Response};
use proto::rest::{self, Failure, Op, Outcome};
use proto::{CallId, limits};
use simulator::model::{Mark, take_marks};

use super::{Event, Exchange, Incoming, Net, REST_PATIENCE, odd};
use crate::agenda::{MINUTE, Time};
use crate::clock::Clock;

/// Where channels lead.
pub(crate) const PLACE: &str = "wss://streaming.simulated.test";

impl Net {
    /// `Call`.
    pub(crate) fn call(&mut self, call: CallId, op: Op, token: Option<&Secret>, clock: &Clock) {
        let request = match op {
            Op::Token => self.login.encode(),
            _ => rest::encode(&op, &self.endpoints, token),
        };
        let bearer = token.map(|t| t.expose().to_owned());
        self.trace.add(clock, "call", call.0, || {
            format!("{} {}", request.method, request.url)
        });
        if self
            .exchanges
            .insert(call, Exchange { op, bearer })
            .is_some()
        {
            self.fail(format!("{call:?} was made while under way"));
        }
        if self.exchanges.len() > limits::CALLS_IN_FLIGHT_MAX {
            self.fail(format!("{} calls are under way", self.exchanges.len()));
        }
        let lag = self.lag();
        let epoch = self.epoch;
        if clock.time < self.weather.down_until {
            let answer = Event::Answer(epoch, call, Err(NoAnswer::NotSent));
            self.agenda.plan(clock.time + 3, answer);
            return;
        }
        if clock.time >= self.weather.black_hole_until {
            self.agenda
                .plan(clock.time + lag, Event::Request(epoch, call, request));
        }
        let late = Event::Answer(epoch, call, Err(NoAnswer::TimedOut));
        self.agenda.plan(clock.time + REST_PATIENCE, late);
    }

    pub(super) fn request(&mut self, epoch: u64, call: CallId, request: Request, clock: &Clock) {
        self.requests_total += 1;
        let bearer = self
            .exchanges
            .get(&call)
            .filter(|_| epoch == self.epoch)
            .and_then(|x| x.bearer.clone());
        if let Some(bearer) = bearer {
            self.count(bearer, clock.time);
        }
        let number = self.requests_total - 1;
        if self
            .fail_from
            .is_some_and(|(from, n)| number >= from && number - from < n)
        {
            let lost = Event::Answer(epoch, call, Err(NoAnswer::Unknown));
            self.agenda.plan(clock.time + 5, lost);
            return;
        }
        let mut response = self.platform.http(&request, clock.platform());
        let mark = take_marks(&mut response);
        if clock.time < self.astray_until {
            self.lead_astray(&mut response);
        }
        self.learn_secrets(&response);
        let lag = self.lag();
        let at = clock.time + lag;
        match mark {
            Some(Mark::Hang) => {}
            Some(Mark::NoAnswer) => {
                let lost = Event::Answer(epoch, call, Err(NoAnswer::Unknown));
                self.agenda.plan(at, lost);
            }
            Some(Mark::Delay(d)) => {
                let at = at + d.as_millis() as Time;
                self.agenda
                    .plan(at, Event::Answer(epoch, call, Ok(response)));
            }
            None if clock.time < self.weather.down_until => {
                let lost = Event::Answer(epoch, call, Err(NoAnswer::Unknown));
                self.agenda.plan(at, lost);
            }
            None if clock.time < self.weather.black_hole_until => {}
            None => self
                .agenda
                .plan(at, Event::Answer(epoch, call, Ok(response))),
        }
        self.collect(clock);
    }

    pub(super) fn count(&mut self, bearer: String, now: Time) {
        let window = self.counted.entry(bearer).or_default();
        while window.front().is_some_and(|t| now - t >= MINUTE) {
            window.pop_front();
        }
        window.push_back(now);
        let n = window.len();
        self.most_in_a_minute = self.most_in_a_minute.max(n);
        if n > limits::REST_PER_MINUTE as usize {
            self.fail(format!("{n} REST requests within a minute"));
        }
        if self.counted.len() > 50 {
            self.counted
                .retain(|_, w| w.back().is_some_and(|t| now - t < MINUTE));
        }
    }

    pub(super) fn answer(
        &mut self,
        call: CallId,
        result: Result<Response, NoAnswer>,
        clock: &Clock,
    ) {
        let Some(exchange) = self.exchanges.remove(&call) else {
            return;
        };
        let outcome = match result {
            Ok(mut response) => {
                if self.odd_notes {
                    response.body = odd::noted_body(&response.body);
                }
                if clock.time < self.odd_until {
                    response.body = odd::body(&response.body, &mut self.odd_rng);
                }
                rest::decode(&exchange.op, &response, clock.now().wall)
            }
            Err(why) => Outcome {
                result: Err(Failure::NoAnswer(why)),
                limits: None,
                retry_after: None,
            },
        };
        if exchange.op != Op::Token {
            self.rest_serves = !matches!(
                outcome.result,
                Err(Failure::NoAnswer(_)
                    | Failure::Server { .. }
                    | Failure::RateLimited(_)
                    | Failure::Garbled)
            );
        }
        self.trace
            .add(clock, "answer", call.0, || format!("{:?}", outcome.result));
        self.incoming.push_back(Incoming::Answered(call, outcome));
    }

    /// A frame as whoever wrote into it had it.
    pub(super) fn oddly(&mut self, text: String, clock: &Clock) -> String {
        let text = match self.odd_notes {
            true => odd::noted(&text),
            false => text,
        };
        match clock.time < self.odd_until {
            true => odd::text(&text, &mut self.odd_rng),
            false => text,
        }
    }

    /// Somebody can forge the platform's answers.
    fn lead_astray(&mut self, response: &mut Response) {
        let places = [
            "wss://elsewhere.test",
            "wss://streaming.simulated.test.elsewhere.test",
            "wss://streaming.simulated.test@elsewhere.test",
            "wss://somebody@streaming.simulated.test",
            "ws://streaming.simulated.test",
            "wss://127.0.0.1",
            "wss://[::1]:8443",
            "https://streaming.simulated.test",
            "wss://notsimulated.test",
        ];
        let Ok(body) = std::str::from_utf8(&response.body) else {
            return;
        };
        if body.contains(PLACE) {
            let place = places[self.rng.below(places.len() as u64) as usize];
            response.body = body.replace(PLACE, place).into_bytes();
        }
    }

    pub(super) fn learn_secrets(&mut self, response: &Response) {
        // Only tokens and channels are small; conversations hold nothing secret.
        if response.status != 200 || response.body.len() > 400 {
            return;
        }
        let Ok(body) = serde_json::from_slice::<serde_json::Value>(&response.body) else {
            return;
        };
        for member in ["access_token", "connectUri", "id"] {
            if let Some(text) = body.get(member).and_then(|v| v.as_str())
                && text.len() > 20
                && (member != "id" || body.get("connectUri").is_some())
            {
                self.secrets.push(text.to_owned());
            }
        }
        if self.secrets.len() > 200 {
            self.secrets.drain(1..100);
        }
    }
}
