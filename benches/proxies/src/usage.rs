//! Processor time and memory of processes, as the kernel counts them.

use std::io;
use std::time::Duration;

/// Processor time since the start, and resident memory.
pub(crate) struct Usage {
    pub(crate) processor: Duration,
    /// Bytes.
    pub(crate) resident: u64,
}

impl Usage {
    /// Returns the sum over these processes.
    pub(crate) fn of(pids: &[u32]) -> io::Result<Self> {
        let mut usage = Self {
            processor: Duration::ZERO,
            resident: 0,
        };
        for pid in pids {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // The fields behind the name, which may hold any byte. The state is the first field,
            // the times are the fields 12 and 13.
            let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            let fields: Vec<&str> = fields.split_whitespace().collect();
            let ticks = |field: usize| -> u64 {
                let field = fields.get(field).and_then(|field| field.parse().ok());
                field.unwrap_or(0)
            };
            // The kernel prints ticks of a hundredth of a second, independent of its own timer.
            usage.processor += Duration::from_millis((ticks(11) + ticks(12)) * 10);
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kilobytes = resident.and_then(|line| line.trim().strip_suffix(" kB"));
            let kilobytes: u64 = kilobytes
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0);
            usage.resident += kilobytes * 1024;
        }
        Ok(usage)
    }
}
