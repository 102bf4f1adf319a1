//! Points in time as the API shows them.

use std::{error::Error, fmt, time::SystemTime};

use bytes::BytesMut;
use serde::{Serialize, Serializer};
use time::{OffsetDateTime, UtcOffset};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// A `timestamptz`, shown as RFC 3339 in UTC: `2026-02-01T10:00:00.123456Z`, and without a fraction where the
/// microseconds are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// Microseconds since 1970, all that PostgreSQL keeps.
    pub fn unix_micros(self) -> i64 {
        // PostgreSQL's years end at 294276, whose microseconds fit.
        i64::try_from(self.0.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
    }

    /// The point in time that [`Timestamp::unix_micros`] gave; `None` for a number that no timestamp has.
    pub fn from_unix_micros(micros: i64) -> Option<Self> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
            .ok()
            .map(Self)
    }
}

impl From<SystemTime> for Timestamp {
    /// To the microsecond.
    fn from(time: SystemTime) -> Self {
        let time = OffsetDateTime::from(time);
        let micros = time.nanosecond() / 1000 * 1000;
        Self(time.replace_nanosecond(micros).unwrap_or(time))
    }
}

impl ToSql for Timestamp {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <OffsetDateTime as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Timestamp {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        OffsetDateTime::from_sql(ty, raw).map(|time| Self(time.to_offset(UtcOffset::UTC)))
    }

    fn accepts(ty: &Type) -> bool {
        <OffsetDateTime as FromSql>::accepts(ty)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        let (hour, minute, second) = time.to_hms();
        write!(
            f,
            "{:04}-{:02}-{:02}",
            time.year(),
            u8::from(time.month()),
            time.day()
        )?;
        write!(f, "T{hour:02}:{minute:02}:{second:02}")?;
        match time.microsecond() {
            0 => f.write_str("Z"),
            micros => write!(f, ".{micros:06}Z"),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
