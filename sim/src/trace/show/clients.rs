//! What clients asked and were told of the partition that a broken rule names.

use super::super::file::Recorded;
use super::super::{Event, Kind};
use super::WIDTH;

/// So many of the last rows are shown.
const ROWS: usize = 8;

/// The partition and the offset that a broken rule's text names: `(topic, index)@offset`, or only the
/// index of a partition.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    /// The end of a partition's name in requests and answers.
    place: String,
    offset: Option<i64>,
}

fn number(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text[..end.unwrap_or(text.len())].parse().ok()
}

impl Named {
    fn in_text(text: &str) -> Option<Named> {
        let tuple = |at: usize| {
            let rest = &text[at + 1..];
            let (topic, rest) = (number(rest)?, rest.split_once(", ")?.1);
            let (index, rest) = (number(rest)?, rest.split_once(')')?.1);
            Some(Named {
                place: format!("topic-{topic}/{index} "),
                offset: rest.strip_prefix('@').and_then(number),
            })
        };
        let found = text.match_indices('(').find_map(|(at, _)| tuple(at));
        found.or_else(|| {
            let index = number(text.split_once("index: ")?.1)?;
            Some(Named {
                place: format!("/{index} "),
                offset: None,
            })
        })
    }

    /// The offset from which on this answer acknowledges records of the partition.
    fn acknowledged(&self, event: &Event) -> Option<i64> {
        let (_, after) = event.what.split_once(&self.place)?;
        number(after.strip_prefix("acknowledged from ")?)
    }
}

/// The last rows before the first broken rule, and the acknowledgement of the offset it names.
pub fn of(recorded: &Recorded) -> String {
    let named = recorded.violations.first();
    let Some(named) = named.and_then(|(_, text)| Named::in_text(text)) else {
        return String::new();
    };
    let verdict = |event: &Event| event.kind == Kind::Verdict;
    let until = recorded.events.iter().position(verdict);
    let before = &recorded.events[..until.unwrap_or(recorded.events.len())];
    let about = |event: &&Event| {
        matches!(event.kind, Kind::Request | Kind::Reply) && event.what.contains(&named.place)
    };
    let mut rows: Vec<&Event> = before.iter().rev().filter(about).take(ROWS).collect();
    rows.reverse();
    let acked = named.offset.and_then(|offset| {
        let covers = |event: &&Event| named.acknowledged(event).is_some_and(|base| base <= offset);
        let acks = before.iter().filter(about).filter(covers);
        acks.max_by_key(|event| named.acknowledged(event))
    });
    if let Some(acked) = acked.filter(|event| !rows.contains(event)) {
        rows.insert(0, acked);
    }
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\nthe last that clients asked and were told of {}:\n",
        named.place.trim()
    );
    for event in rows {
        let mut line = format!("{:>6}.{:03}  ", event.at_us / 1000, event.at_us % 1000);
        let verb = match event.kind {
            Kind::Request => "asks",
            _ => "is told",
        };
        line.push_str(&format!("{} {verb}: {}", event.actor, event.what));
        text.extend(line.chars().take(WIDTH));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_its_partition() {
        let named = |place: &str, offset| {
            Some(Named {
                place: place.into(),
                offset,
            })
        };
        assert_eq!(
            Named::in_text("(0, 3)@75 is gone after a power cut (1..75)"),
            named("topic-0/3 ", Some(75))
        );
        assert_eq!(
            Named::in_text("Produce(x): (1, 0): end"),
            named("topic-1/0 ", None)
        );
        let id = "PartitionId { topic: abc, index: 12 }: start 0";
        assert_eq!(Named::in_text(id), named("/12 ", None));
        assert_eq!(Named::in_text("Fatal(\"journal\")"), None);
    }
}
