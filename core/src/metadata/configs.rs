//! Topic configs: Kafka's names, defaults and bounds (`TopicConfig.java`).

/// A topic's effective configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicConfig {
    /// `retention.ms`; -1 for ever.
    pub retention_ms: i64,
    /// `retention.bytes` per partition; -1 without bound.
    pub retention_bytes: i64,
    /// `segment.bytes`.
    pub segment_bytes: i64,
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
            segment_bytes: 1 << 30,
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
    /// Some records of the topic may be acknowledged before they are synced.
    pub fn opts_out_of_syncing(&self) -> bool {
        self.flush_messages > 1 && self.flush_ms > 0
    }

    /// Set one config by its Kafka name.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = |low: i64| match value.trim().parse::<i64>() {
            Ok(number) if number >= low => Ok(number),
            Ok(number) => Err(format!("{name} must be at least {low}, not {number}")),
            Err(_) => Err(format!("{name} must be a number, not '{value}'")),
        };
        match name {
            "retention.ms" => self.retention_ms = number(-1)?,
            "retention.bytes" => self.retention_bytes = number(-1)?,
            "segment.bytes" => self.segment_bytes = number(14)?,
            "segment.ms" => self.segment_ms = number(1)?,
            "max.message.bytes" => self.max_message_bytes = number(0)?,
            "message.timestamp.before.max.ms" => self.before_max_ms = number(0)?,
            "message.timestamp.after.max.ms" => self.after_max_ms = number(0)?,
            "flush.messages" => self.flush_messages = number(1)?,
            "flush.ms" => self.flush_ms = number(0)?,
            "message.timestamp.type" => {
                self.log_append_time = match value {
                    "CreateTime" => false,
                    "LogAppendTime" => true,
                    _ => {
                        return Err(format!(
                            "{name} is CreateTime or LogAppendTime, not '{value}'"
                        ))
                    }
                }
            }
            "cleanup.policy" if value == "delete" => {}
            "compression.type" if value == "producer" => {}
            "min.insync.replicas" if value == "1" => {}
            _ => return Err(format!("{name}={value} is not supported by this broker")),
        }
        Ok(())
    }

    /// Name and value of every config.
    pub fn list(&self) -> Vec<(&'static str, String)> {
        let time = if self.log_append_time {
            "LogAppendTime"
        } else {
            "CreateTime"
        };
        vec![
            ("cleanup.policy", "delete".into()),
            ("compression.type", "producer".into()),
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
            ("min.insync.replicas", "1".into()),
            ("retention.bytes", self.retention_bytes.to_string()),
            ("retention.ms", self.retention_ms.to_string()),
            ("segment.bytes", self.segment_bytes.to_string()),
            ("segment.ms", self.segment_ms.to_string()),
        ]
    }
}
