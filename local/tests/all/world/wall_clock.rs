//! The wall clock of a function's process, which a test sets. To the process it looks as if it had been frozen
//! while its monotonic clock stood still.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The library that shifts the clock, compiled once by the compiler that Rust links with.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("wall-clock-{}.so", std::process::id()));
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/world/wall_clock.c"))
        .status();
    assert!(compiled.unwrap().success(), "the clock could not be built");
    library
});

/// What one process takes for the time.
pub(crate) struct WallClock {
    path: PathBuf,
    file: File,
}

impl WallClock {
    /// One that is right.
    pub(crate) fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = LIBRARY.with_extension(number.to_string());
        fs::write(&path, 0_i64.to_ne_bytes()).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        Self { path, file }
    }

    /// The variables of a process that goes by this clock.
    pub(crate) fn variables(&self) -> [(&'static str, &str); 2] {
        [
            ("LD_PRELOAD", LIBRARY.to_str().unwrap()),
            ("WALL_CLOCK_AHEAD", self.path.to_str().unwrap()),
        ]
    }

    /// So much time has gone by since the start, besides what really has.
    pub(crate) fn is_ahead_by(&self, time: Duration) {
        let seconds = i64::try_from(time.as_secs()).unwrap();
        self.file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        fs::remove_file(&self.path).unwrap();
    }
}
