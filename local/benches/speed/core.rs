//! One core for all that takes turns: how soon another one wakes for a message is the machine's mood, and more than
//! the whole of a short request. What is timed so is work, and not the waiting for each other.

use crate::{Failure, database::Postgres};

#[cfg(target_os = "linux")]
pub(crate) use linux::OneCore;

#[cfg(target_os = "linux")]
mod linux {
    use nix::{
        sched::{CpuSet, sched_getaffinity, sched_setaffinity},
        unistd::Pid,
    };

    use super::{Failure, Postgres};

    /// This thread, as the kernel calls it.
    const SELF: Pid = Pid::from_raw(0);

    /// As long as it lives, this thread shares a core with what it starts and with the server's new connections.
    pub(crate) struct OneCore {
        before: CpuSet,
        server: Option<Pid>,
    }

    impl OneCore {
        /// Takes the last core that there is.
        pub(crate) fn share(postgres: Option<&Postgres>) -> Result<Self, Failure> {
            let before = sched_getaffinity(SELF)?;
            let last = (0..CpuSet::count())
                .rev()
                .find(|core| before.is_set(*core) == Ok(true));
            let mut core = CpuSet::new();
            core.set(last.ok_or("there is no core")?)?;
            let server = postgres.map(Postgres::process).transpose()?;
            let shared = Self {
                before,
                server: server.map(Pid::from_raw),
            };
            shared.set(&core)?;
            Ok(shared)
        }

        fn set(&self, cores: &CpuSet) -> Result<(), Failure> {
            for process in [Some(SELF), self.server].into_iter().flatten() {
                sched_setaffinity(process, cores)?;
            }
            Ok(())
        }
    }

    impl Drop for OneCore {
        fn drop(&mut self) {
            if let Err(failure) = self.set(&self.before) {
                eprintln!("The core is not given back: {failure}");
            }
        }
    }
}

/// Where a process has no say in it, the figures vary more.
#[cfg(not(target_os = "linux"))]
pub(crate) struct OneCore;

#[cfg(not(target_os = "linux"))]
impl OneCore {
    pub(crate) fn share(_: Option<&Postgres>) -> Result<Self, Failure> {
        Ok(Self)
    }
}
