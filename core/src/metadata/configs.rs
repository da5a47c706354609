//! Topic configs: Kafka's names, defaults and bounds (`TopicConfig.java`).

use super::quote::Quote;

/// A topic's effective configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicConfig {
    /// `retention.ms`; -1 for ever.
    pub retention_ms: i64,
    /// `retention.bytes` per partition; negative without bound.
    pub retention_bytes: i64,
    /// `cleanup.policy` is empty: nothing is removed for its age or for the log's size.
    pub keeps_all: bool,
    /// `segment.bytes`, or Kafka's `internal.segment.bytes` where that is set.
    pub segment_bytes: i64,
    /// `internal.segment.bytes` is set: it goes before `segment.bytes` and has no lower bound to speak
    /// of. It is there for tests, as in Kafka (`LogConfig.INTERNAL_SEGMENT_BYTES_CONFIG`).
    pub internal_segment: bool,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `max.message.bytes`: largest batch.
    pub max_message_bytes: i64,
    /// `message.timestamp.type` is LogAppendTime.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: an hour, so that a far future time cannot pin a segment
    /// (KIP-937).
    pub after_max_ms: i64,
    /// `flush.messages`: records of a partition that may be acknowledged before they are synced,
    /// this one included. 1, the default here, syncs before every acknowledgement; more opts out,
    /// and a crash of the machine may then lose that many.
    pub flush_messages: i64,
    /// `flush.ms`: how long an acknowledged record may wait for its sync, where `flush.messages`
    /// lets it wait.
    pub flush_ms: i64,
}

impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig {
            retention_ms: 604_800_000,
            retention_bytes: -1,
            keeps_all: false,
            segment_bytes: 1 << 30,
            internal_segment: false,
            segment_ms: 604_800_000,
            max_message_bytes: 1_048_588,
            log_append_time: false,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
            flush_messages: 1,
            flush_ms: i64::MAX,
        }
    }
}

impl TopicConfig {
    /// How many configs a topic has, with those it does not act on.
    pub const LISTED: usize = 33;

    /// Some records of the topic may be acknowledged before they are synced.
    pub fn opts_out_of_syncing(&self) -> bool {
        self.flush_messages > 1 && self.flush_ms > 0
    }

    /// How long and how much of a partition's log is kept at most, in ms and bytes: negative
    /// without bound.
    pub fn retention(&self) -> (i64, i64) {
        match self.keeps_all {
            true => (-1, -1),
            false => (self.retention_ms, self.retention_bytes),
        }
    }

    /// Set one config by its Kafka name: for a topic to be created. The bounds are Kafka 4.3's
    /// (`LogConfig`); values that this broker would not honour are refused, with the reason.
    pub fn set_new(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "segment.bytes" => drop(number(name, value, SMALLEST_SEGMENT, i32::MAX.into())?),
            // `GzipCompression.LevelValidator`
            "compression.gzip.level" if number(name, value, -1, 9)? == 0 => {
                return Err(one_of(name, "-1 or a number from 1 to 9", value))
            }
            _ => {}
        }
        self.set(name, value)
    }

    /// What configs of a topic to be created must be beside each other, as `get` says they are set
    /// (`LogConfig.validateValues`).
    pub fn fit_together<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<(), String> {
        let (low, high) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
        let ms = |name: &str| get(name).and_then(|value| value.trim().parse::<i64>().ok());
        match ms(low).unwrap_or(0) > ms(high).unwrap_or(i64::MAX) {
            true => Err(format!("{low} is above {high}")),
            false => Ok(()),
        }
    }

    /// Set one config by its Kafka name, as a topic that exists bears it.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let long = |low: i64| number(name, value, low, i64::MAX);
        let int = |low: i64| number(name, value, low, i32::MAX.into());
        match name {
            "retention.ms" => self.retention_ms = long(-1)?,
            "retention.bytes" => self.retention_bytes = long(i64::MIN)?,
            "segment.bytes" if self.internal_segment => drop(int(14)?),
            "segment.bytes" => self.segment_bytes = int(14)?,
            "internal.segment.bytes" => {
                (self.segment_bytes, self.internal_segment) = (int(14)?, true)
            }
            "segment.ms" => self.segment_ms = long(1)?,
            "max.message.bytes" => self.max_message_bytes = int(0)?,
            "message.timestamp.before.max.ms" => self.before_max_ms = long(0)?,
            "message.timestamp.after.max.ms" => self.after_max_ms = long(0)?,
            "flush.messages" => self.flush_messages = long(1)?,
            "flush.ms" => self.flush_ms = long(0)?,
            "message.timestamp.type" => {
                self.log_append_time = match value.trim() {
                    "CreateTime" => false,
                    "LogAppendTime" => true,
                    _ => return Err(one_of(name, "CreateTime or LogAppendTime", value)),
                }
            }
            "cleanup.policy" => self.keeps_all = cleanup_policy(value)?,
            _ => inert(name, value)?,
        }
        Ok(())
    }

    /// Name and value of every config of Kafka 4.3, sorted. [`INERT`] ones have their default, unless
    /// a user has set another.
    pub fn list(&self) -> Vec<(&'static str, String)> {
        let time = if self.log_append_time {
            "LogAppendTime"
        } else {
            "CreateTime"
        };
        let mut all = vec![
            (
                "cleanup.policy",
                if self.keeps_all { "" } else { "delete" }.into(),
            ),
            ("flush.messages", self.flush_messages.to_string()),
            ("flush.ms", self.flush_ms.to_string()),
            ("max.message.bytes", self.max_message_bytes.to_string()),
            (
                "message.timestamp.after.max.ms",
                self.after_max_ms.to_string(),
            ),
            (
                "message.timestamp.before.max.ms",
                self.before_max_ms.to_string(),
            ),
            ("message.timestamp.type", time.into()),
            ("retention.bytes", self.retention_bytes.to_string()),
            ("retention.ms", self.retention_ms.to_string()),
            ("segment.bytes", self.segment_bytes.to_string()),
            ("segment.ms", self.segment_ms.to_string()),
        ];
        all.extend(
            INERT
                .iter()
                .map(|(name, value, _)| (*name, value.to_string())),
        );
        all.sort();
        all
    }
}

/// Kafka 4's lower bound of `segment.bytes` (KIP-1030).
const SMALLEST_SEGMENT: i64 = 1 << 20;

/// What a value of an inert config may be.
#[derive(Clone, Copy, Debug)]
enum Allowed {
    /// The default only: another value asks for something that this broker does not do yet.
    Default,
    /// A number of these bounds; it tunes what this broker does in another way or not at all.
    Number(i64, i64),
    /// A share from 0 to 1.
    Share,
}

/// Configs of Kafka 4.3 that change nothing here: name, default, and the values taken. Kafka Streams,
/// Connect and Terraform send some of them with every topic.
const INERT: [(&str, &str, Allowed); 22] = [
    ("compression.gzip.level", "-1", Allowed::Number(-1, 9)),
    ("compression.lz4.level", "9", Allowed::Number(1, 17)),
    ("compression.type", "producer", Allowed::Default),
    ("compression.zstd.level", "3", Allowed::Number(-131_072, 22)),
    (
        "delete.retention.ms",
        "86400000",
        Allowed::Number(0, i64::MAX),
    ),
    (
        "file.delete.delay.ms",
        "60000",
        Allowed::Number(0, i64::MAX),
    ),
    (
        "follower.replication.throttled.replicas",
        "",
        Allowed::Default,
    ),
    (
        "index.interval.bytes",
        "4096",
        Allowed::Number(0, i32::MAX as i64),
    ),
    (
        "leader.replication.throttled.replicas",
        "",
        Allowed::Default,
    ),
    ("local.retention.bytes", "-2", Allowed::Default),
    ("local.retention.ms", "-2", Allowed::Default),
    (
        "max.compaction.lag.ms",
        "9223372036854775807",
        Allowed::Number(1, i64::MAX),
    ),
    ("min.cleanable.dirty.ratio", "0.5", Allowed::Share),
    ("min.compaction.lag.ms", "0", Allowed::Number(0, i64::MAX)),
    ("min.insync.replicas", "1", Allowed::Default),
    ("preallocate", "false", Allowed::Default),
    ("remote.log.copy.disable", "false", Allowed::Default),
    ("remote.log.delete.on.disable", "false", Allowed::Default),
    ("remote.storage.enable", "false", Allowed::Default),
    (
        "segment.index.bytes",
        "10485760",
        Allowed::Number(4, i32::MAX as i64),
    ),
    ("segment.jitter.ms", "0", Allowed::Default),
    ("unclean.leader.election.enable", "false", Allowed::Default),
];

fn inert(name: &str, value: &str) -> Result<(), String> {
    let known = INERT.iter().find(|(known, _, _)| *known == name);
    let (_, default, allowed) =
        known.ok_or_else(|| format!("{} is no topic config", Quote(name)))?;
    match allowed {
        Allowed::Number(low, high) => number(name, value, *low, *high).map(drop),
        Allowed::Share if is_share(value.trim()) => Ok(()),
        Allowed::Share => Err(one_of(name, "a number from 0 to 1", value)),
        Allowed::Default if value.trim().eq_ignore_ascii_case(default) => Ok(()),
        Allowed::Default => Err(format!(
            "{name} can only be '{default}' on this broker, not '{}'",
            Quote(value)
        )),
    }
}

/// Whether no policy removes anything: Kafka 4.3 takes an empty list.
fn cleanup_policy(value: &str) -> Result<bool, String> {
    let name = "cleanup.policy";
    if value.trim().is_empty() {
        return Ok(true);
    }
    let policies: Vec<&str> = value.split(',').map(str::trim).collect();
    if policies.contains(&"compact") {
        return Err(format!(
            "{name}: compaction is not served yet, only 'delete' is"
        ));
    }
    match policies.iter().all(|policy| *policy == "delete") {
        true => Ok(false),
        false => Err(one_of(name, "'delete'", value)),
    }
}

fn number(name: &str, value: &str, low: i64, high: i64) -> Result<i64, String> {
    match value.trim().parse::<i64>() {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        Ok(number) => Err(format!("{name} is from {low} to {high}, not {number}")),
        Err(_) => Err(one_of(name, "a number", value)),
    }
}

/// 0 to 1 in what `Double.parseDouble` takes as decimal: a point anywhere, an exponent, the suffix of a
/// float. No float takes part in a decision, so it is judged by its digits. Java's hexadecimal numbers
/// and NaN, which Kafka takes for being in any bounds, are not taken.
fn is_share(value: &str) -> bool {
    let value = value.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(value);
    let (mantissa, exponent) = value.split_once(['e', 'E']).unwrap_or((value, "0"));
    let Some(exponent) = exponent_of(exponent) else {
        return false;
    };
    let negative = mantissa.starts_with('-');
    let digits = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = || whole.bytes().chain(rest.bytes());
    if digits().next().is_none() || !digits().all(|digit| digit.is_ascii_digit()) {
        return false;
    }
    let Some(first) = digits().position(|digit| digit != b'0') else {
        return true;
    };
    // The number is 0.d1d2... times ten to this power, d1 not being 0.
    let power = exponent.saturating_add(whole.len() as i64 - first as i64);
    let mut digits = digits().skip(first);
    let is_one = digits.next() == Some(b'1') && digits.all(|digit| digit == b'0');
    !negative && (power < 1 || power == 1 && is_one)
}

/// The number after the `e`: a sign and at least one digit. What is far out is held within bounds.
fn exponent_of(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let digits = digits.bytes().map(|digit| i64::from(digit - b'0'));
    let value = digits.fold(0i64, |value, digit| {
        value.saturating_mul(10).saturating_add(digit)
    });
    Some(if text.starts_with('-') { -value } else { value })
}

fn one_of(name: &str, what: &str, value: &str) -> String {
    format!("{name} is {what}, not '{}'", Quote(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configs_are_taken_and_refused_as_kafka_does() {
        let taken = |name: &str, value: &str| TopicConfig::default().set_new(name, value).is_ok();
        for (name, value) in TopicConfig::default().list() {
            assert!(taken(name, &value), "{name}={value} is the default");
        }
        let listed = TopicConfig::default().list().len();
        assert_eq!((listed, TopicConfig::LISTED), (33, 33), "as in Kafka 4.3");
        for (name, value) in [
            ("segment.bytes", "1048576"),
            ("internal.segment.bytes", "1000"),
            ("retention.ms", " 5 "),
            ("cleanup.policy", "delete,delete"),
            ("cleanup.policy", ""),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("retention.bytes", "-2"),
            ("compression.gzip.level", "-1"),
            ("compression.gzip.level", "1"),
            ("compression.gzip.level", "9"),
            ("segment.index.bytes", "4"),
            ("unclean.leader.election.enable", "FALSE"),
        ] {
            assert!(taken(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("segment.bytes", "1048575"),
            ("segment.bytes", "2147483648"),
            ("retention.ms", "abc"),
            ("retention.ms", "-2"),
            ("retention.ms", ""),
            ("cleanup.policy", "purge"),
            ("cleanup.policy", "compact,delete"),
            ("min.cleanable.dirty.ratio", "1.01"),
            ("compression.gzip.level", "0"),
            ("compression.gzip.level", "00"),
            ("compression.gzip.level", "10"),
            ("compression.gzip.level", "-2"),
            ("min.insync.replicas", "2"),
            ("unclean.leader.election.enable", "true"),
            ("message.format.version", "3.0"),
            ("message.timestamp.difference.max.ms", "1"),
            ("message.downconversion.enable", "false"),
            ("no.such.key", "1"),
        ] {
            assert!(!taken(name, value), "{name}={value}");
        }
    }

    #[test]
    fn a_share_is_written_as_java_reads_it() {
        for taken in [
            ".5",
            "0.",
            "1.",
            "00.5",
            "1e-1",
            "5E-1",
            "0.05e1",
            "10e-1",
            "1e0",
            "+.5",
            "-0.0",
            "0e99",
            "0.5f",
            ".5D",
            "1e-99999999999999999999",
            "100e-2",
            "1.00",
        ] {
            assert!(is_share(taken), "{taken}");
        }
        for refused in [
            "",
            ".",
            "e1",
            "1e",
            "1e+",
            "-.5",
            "1.1",
            "2",
            "1e1",
            "11e-1",
            "0.1e2",
            ".5.",
            "0.5g",
            "f",
            "+",
            "--1",
            "1 e0",
            "1e99999999999999999999",
            "0x1p-1",
            "NaN",
            "Infinity",
        ] {
            assert!(!is_share(refused), "{refused}");
        }
    }

    #[test]
    fn a_gzip_level_that_an_older_topic_has_is_still_read() {
        let mut config = TopicConfig::default();
        assert!(config.set_new("compression.gzip.level", "0").is_err());
        assert!(config.set("compression.gzip.level", "0").is_ok());
    }

    #[test]
    fn without_a_policy_nothing_is_removed() {
        let mut config = TopicConfig::default();
        for (name, value) in [("retention.ms", "5"), ("retention.bytes", "7")] {
            config.set(name, value).expect("taken");
        }
        assert_eq!(config.retention(), (5, 7));
        config.set("cleanup.policy", " ").expect("taken");
        assert_eq!(config.retention(), (-1, -1));
        assert!(config.list().contains(&("cleanup.policy", String::new())));
        config.set("cleanup.policy", "delete").expect("taken");
        assert_eq!(config.retention(), (5, 7));
    }

    #[test]
    fn the_internal_segment_size_goes_first_whatever_the_order() {
        let mut config = TopicConfig::default();
        for (name, value) in [
            ("internal.segment.bytes", "1000"),
            ("segment.bytes", "1048576"),
        ] {
            config.set(name, value).expect("taken");
        }
        assert_eq!(config.segment_bytes, 1000);
    }
}
