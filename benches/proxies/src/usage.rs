//! What processes have used, as the kernel counts it.

use std::io;
use std::time::Duration;

/// Processor time since their start, and what they hold in memory.
pub(crate) struct Usage {
    pub(crate) processor: Duration,
    /// Bytes.
    pub(crate) resident: u64,
}

impl Usage {
    /// Of these processes together.
    pub(crate) fn of(pids: &[u32]) -> io::Result<Self> {
        let mut usage = Self {
            processor: Duration::ZERO,
            resident: 0,
        };
        for pid in pids {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // Behind the name, which may hold anything: state is the first, times 12 and 13.
            let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            let fields: Vec<&str> = fields.split_whitespace().collect();
            let ticks = |field: usize| -> u64 {
                let field = fields.get(field).and_then(|field| field.parse().ok());
                field.unwrap_or(0)
            };
            // The kernel shows ticks of a hundredth of a second, whatever it counts in.
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
