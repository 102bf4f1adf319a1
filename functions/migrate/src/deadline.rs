//! When an order has to be carried out.

use std::time::{Duration, SystemTime};

/// The end of the time that there is for an order, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<SystemTime>);

impl Deadline {
    /// For somebody at a terminal, who ends it when they like.
    pub const NONE: Self = Self(None);

    /// So long before a point in time.
    pub fn before(end: SystemTime, earlier: Duration) -> Self {
        Self(Some(
            end.checked_sub(earlier).unwrap_or(SystemTime::UNIX_EPOCH),
        ))
    }

    /// How much time is left; `None` where there is no end.
    pub(crate) fn left(self) -> Option<Duration> {
        let end = self.0?;
        Some(end.duration_since(SystemTime::now()).unwrap_or_default())
    }
}
