//! How long ago something was, on a machine that may have been frozen meanwhile.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A point in time by both clocks of the machine. Lambda freezes a function between two requests, and its
/// monotonic clock may stand still until the next one; the wall clock goes on, but may be set.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// What the monotonic clock showed.
    pub monotonic: Instant,
    /// What the wall clock showed.
    pub wall: SystemTime,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// How long ago this moment was: what the clock that went further says. A wall clock that was set back
    /// counts by how far it was set, so that whoever waits for a span of time never waits longer than that.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// The time from an earlier moment to this one, as [`Moment::elapsed`] judges it.
    pub fn since(self, earlier: Self) -> Duration {
        let by_wall = self
            .wall
            .duration_since(earlier.wall)
            .unwrap_or_else(|set_back| set_back.duration());
        self.monotonic
            .saturating_duration_since(earlier.monotonic)
            .max(by_wall)
    }
}
