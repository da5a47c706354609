//! Where two runs part.

use super::Event;

/// How many events before it a diff shows.
const BEFORE: usize = 5;

/// The number of the first event that is not the same in both, if there is one. The rolling hash takes
/// in everything before it, so that halving finds it.
pub fn first_difference(one: &[Event], other: &[Event]) -> Option<usize> {
    let both = one.len().min(other.len());
    let pairs: Vec<(&Event, &Event)> = one.iter().zip(other).collect();
    let at = pairs.partition_point(|(one, other)| one.hash == other.hash);
    (at < both || one.len() != other.len()).then_some(at)
}

/// A text for a reader: a few events that are the same, then each run's next.
pub fn describe(one: &[Event], other: &[Event]) -> Option<String> {
    let at = first_difference(one, other)?;
    let mut text = format!("{at} events are the same");
    if at > 0 {
        text.push_str(", the last of them:");
    }
    text.push('\n');
    for event in &one[at.saturating_sub(BEFORE)..at] {
        text.push_str(&format!("    {event}\n"));
    }
    for (name, events) in [("A", one), ("B", other)] {
        let next = events.get(at);
        let line = next.map_or("nothing more".to_string(), |event| event.to_string());
        text.push_str(&format!("{name} | {line}\n"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::{Actor, Kind, Trace};
    use super::*;

    fn events(values: &[u64]) -> Vec<Event> {
        let mut trace = Trace::new(3);
        trace.keep();
        for value in values {
            trace.event(Actor::World, Kind::Mark, value, || format!("value {value}"));
        }
        trace.take().2
    }

    #[test]
    fn the_first_event_that_differs_is_named() {
        let one: Vec<u64> = (0..100).collect();
        for at in 0..100 {
            let mut other = one.clone();
            other[at] = 1000;
            let found = first_difference(&events(&one), &events(&other));
            assert_eq!(found, Some(at));
        }
        assert_eq!(first_difference(&events(&one), &events(&one)), None);
        assert_eq!(describe(&events(&one), &events(&one)), None);
        let shorter = first_difference(&events(&one), &events(&one[..60]));
        assert_eq!(
            shorter,
            Some(60),
            "a run that goes on differs where the other ends"
        );
        let text = describe(&events(&[1, 2, 3]), &events(&[1, 2, 4])).expect("they differ");
        assert!(text.contains("A | ") && text.contains("value 4"), "{text}");
    }
}
