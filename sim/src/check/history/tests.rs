use super::*;

const P: Part = (0, 0);

fn seen(rows: &[(i64, u64, i64)]) -> Vec<Seen> {
    let row = |(offset, value, time): &(i64, u64, i64)| Seen {
        offset: *offset,
        value: *value,
        time: *time,
    };
    rows.iter().map(row).collect()
}

fn head(base: i64, epoch: i32, attributes: i16) -> BatchHead {
    let record = crate::load::records::record(1, 5, 30);
    let batch = seedlog_net::records::build(&[record], None);
    let head = seedlog_core::batch::parse_head(&batch).expect("a head");
    BatchHead {
        base_offset: base,
        leader_epoch: epoch,
        attributes,
        ..head
    }
}

/// Three records in two batches, read and looked up; the broker is in its first life, of epoch 4.
fn good() -> History {
    let mut history = History {
        now_us: 100,
        now_ms: 8_000,
        life: 1,
        ..History::default()
    };
    history.acked(P, 0, &[10, 11], -1);
    history.acked(P, 2, &[12], 1);
    history.dated(P, 0, &[50, 55]);
    history.read(P, 0, &seen(&[(0, 10, 50), (1, 11, 55), (2, 12, 60)]));
    history.heads(P, &[head(0, 3, 0), head(2, 4, 0)], false);
    history.end(P, 3, 0);
    history.looked_up(P, 51, (1, 55), 2);
    history.looked_up(P, 56, (-1, -1), 1);
    history.looked_up(P, -3, (2, 60), 2);
    history.has_id(0, Uuid([1; 16]));
    history.has_epoch(4);
    history.has_producer(7);
    history.epoch_end(P, 3, (3, 2));
    history.epoch_end(P, 5, (-1, -1));
    history
}

fn rules(history: &History) -> Vec<&'static str> {
    history.violations.iter().map(|(rule, _)| *rule).collect()
}

fn retained(history: &mut History) {
    let part = history.part(P);
    part.retention = true;
    part.young_ms = Some(3_000);
}

#[test]
fn a_good_history_breaks_nothing() {
    let mut history = good();
    retained(&mut history);
    history.sent_at(P, 0, 2, 5_000);
    history.looked_up(P, 40, (1, 55), 2);
    history.start(P, 1, 100);
    // A start that was asked for before the answer says nothing of what was there then.
    history.now_us = 110;
    history.looked_up(P, 40, (2, 60), 2);
    history.start(P, 1, 109);
    history.out_of_range(P, 1);
    history.start(P, 1, 50);
    history.start(P, 2, 200);
    history.audit(P, 2, 3, &(0..3).collect(), &BTreeSet::new());
    assert_eq!(rules(&history), Vec::<&str>::new());
}

type Doctor = fn(&mut History);

#[test]
fn every_rule_of_records_rejects_a_doctored_history() {
    let doctored: [(&str, Doctor); 21] = [
        ("wrong-time", |h| h.looked_up(P, 52, (2, 60), 2)),
        ("wrong-time", |h| h.looked_up(P, 52, (-1, -1), 2)),
        ("wrong-time", |h| h.looked_up(P, 52, (1, 54), 2)),
        ("wrong-time", |h| h.looked_up(P, 61, (3, 60), 2)),
        ("wrong-time", |h| h.looked_up(P, -3, (1, 55), 2)),
        ("wrong-time", |h| h.dated(P, 1, &[56])),
        ("wrong-time", |h| h.read(P, 1, &seen(&[(1, 11, 54)]))),
        ("wrong-time", |h| h.heads(P, &[head(5, 4, 8)], false)),
        ("wrong-time", |h| {
            // What was told to be there is still there once the log starts before it.
            retained(h);
            h.looked_up(P, 52, (2, 60), 2);
            h.start(P, 0, 100);
        }),
        ("inconsistent-offsets", |h| {
            h.read(P, 1, &seen(&[(1, 99, 55)]))
        }),
        ("duplicate", |h| h.read(P, 3, &seen(&[(3, 12, 60)]))),
        ("H6", |h| h.failed(P, &[11])),
        ("H1", |h| h.acked(P, 1, &[11], 1)),
        ("poll-skip", |h| h.read(P, 1, &seen(&[(2, 12, 60)]))),
        ("nonmonotonic-send", |h| {
            h.sent(1, P, 5);
            h.sent(1, P, 5);
        }),
        ("nonmonotonic-poll", |h| {
            h.polled(1, P, true, &[(1, 11), (2, 12)]);
            h.polled(1, P, false, &[(2, 12)]);
        }),
        ("poll-skip", |h| {
            h.polled(1, P, true, &[(0, 10)]);
            h.polled(1, P, false, &[(2, 12)]);
        }),
        ("H4", |h| h.read(P, 0, &seen(&[(0, 10, 50), (2, 12, 60)]))),
        ("acks-0", |h| {
            h.part(P).unanswered.insert(13);
            h.all_unanswered_are_there();
        }),
        ("lost-write", |h| {
            h.audit(P, 0, 2, &(0..2).collect(), &BTreeSet::new())
        }),
        ("unseen", |h| {
            h.part(P).acked.clear();
            h.part(P).max_acked = -1;
            h.audit(P, 0, 2, &(0..2).collect(), &BTreeSet::new());
        }),
    ];
    each_is_seen(&doctored);
}

#[test]
fn every_rule_of_answers_rejects_a_doctored_history() {
    let doctored: [(&str, Doctor); 19] = [
        ("retained-too-short", |h| {
            retained(h);
            h.sent_at(P, 0, 2, 5_001);
            h.start(P, 1, 100);
        }),
        ("retained-too-short", |h| {
            retained(h);
            h.sent_at(P, 0, 2, 5_001);
            h.out_of_range(P, 0);
        }),
        ("retained-too-short", |h| {
            retained(h);
            h.part(P).kept_bytes = Some(101);
            h.part(P).sent_bytes = 200;
            h.sized(P, 0, 100);
            h.start(P, 2, 100);
        }),
        ("lost-write", |h| h.start(P, 1, 100)),
        ("lost-write", |h| h.out_of_range(P, 1)),
        ("H5", |h| {
            h.part(P).deleted_to = 2;
            h.start(P, 2, 100);
            h.start(P, 1, 101);
        }),
        ("H5", |h| {
            retained(h);
            h.out_of_range(P, 1);
            h.start(P, 1, 101);
        }),
        ("H5", |h| h.end(P, 2, 3)),
        ("low-watermark", |h| h.trimmed(P, (2, 3), 1, 100)),
        ("low-watermark", |h| h.trimmed(P, (-1, 3), 2, 100)),
        ("topic-id", |h| h.has_id(0, Uuid([2; 16]))),
        ("topic-id", |h| h.has_id(1, Uuid::ZERO)),
        ("leader-epoch", |h| h.has_epoch(3)),
        ("leader-epoch", |h| h.has_epoch(5)),
        ("leader-epoch", |h| h.heads(P, &[head(1, 5, 0)], false)),
        ("epoch-end", |h| h.epoch_end(P, 3, (3, 3))),
        ("epoch-end", |h| h.epoch_end(P, 4, (-1, -1))),
        ("producer-id", |h| h.has_producer(7)),
        ("answer-shape", |h| {
            h.fits([1, 2].into_iter(), [2, 1].into_iter());
        }),
    ];
    each_is_seen(&doctored);
    let mut history = good();
    let text = || "a fetch".to_string();
    history.judge(Api::Fetch, ErrorCode::None, &[Why::Sound], text);
    assert_eq!(rules(&history), Vec::<&str>::new());
    history.judge(
        Api::Fetch,
        ErrorCode::KafkaStorageError,
        &[Why::Sound],
        text,
    );
    assert_eq!(rules(&history), ["unexpected-answer"]);
}

fn each_is_seen(doctored: &[(&str, Doctor)]) {
    for (at, (rule, change)) in doctored.iter().enumerate() {
        let mut history = good();
        assert_eq!(rules(&history), Vec::<&str>::new());
        change(&mut history);
        let found = rules(&history);
        assert!(
            found.contains(rule),
            "{at} {rule}: {:?}",
            history.violations
        );
    }
}
