//! Many instances at once, each with a request at all times.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::{Failure, runtime_api::Instance};

/// What one instance is asked, again and again.
pub(crate) type Requests = Box<dyn FnMut() -> String + Send>;

/// Numbers that look random and are the same every time: a linear congruential generator (Knuth).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        // The first numbers of seeds that are close together are close together.
        let mut dice = Self(seed);
        for _ in 0..3 {
            dice.roll(1);
        }
        dice
    }

    /// From 0 to less than this.
    pub(crate) fn roll(&mut self, below: i64) -> i64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33).cast_signed() % below
    }
}

/// Keeps every instance busy for a time, and says how many requests a second they answered, all together.
pub(crate) async fn keep_busy(
    crew: &mut Vec<Instance>,
    time: Duration,
    statuses: &'static [u16],
    requests: impl Fn(u64) -> Requests,
) -> Result<f64, Failure> {
    let begun = Instant::now();
    let mut working = JoinSet::new();
    for (number, mut instance) in (0..).zip(crew.drain(..)) {
        let mut next = requests(number);
        working.spawn(async move {
            let mut answered = 0_u32;
            while begun.elapsed() < time {
                instance.invoke(&next(), statuses).await?;
                answered += 1;
            }
            Ok::<_, Failure>((instance, answered))
        });
    }
    let mut answered = 0;
    while let Some(done) = working.join_next().await {
        let (instance, requests) = done??;
        crew.push(instance);
        answered += requests;
    }
    Ok(f64::from(answered) / begun.elapsed().as_secs_f64())
}
