//! The planted bugs from M81 on: each is one branch in core, at `knobs.has(NUMBER)`.

/// Number, and what it does. M81 to M90 are the edits of the first review (its finding 44).
pub(super) const NUMBERED: &[(u16, &str)] = &[
    (
        81,
        "a call that ends without an answer keeps what its request held",
    ),
    (
        82,
        "a parked fetch is not woken when records become visible",
    ),
    (
        83,
        "a journal that was read back whole is not synced before it is promised on",
    ),
    (
        84,
        "DeleteRecords is answered before the log start is durable",
    ),
    (85, "the checksum of a segment's rows is not compared"),
    (86, "after a failed read its first batch is not tried alone"),
    (
        87,
        "a connection's calls begin before the one before them has ended",
    ),
    (88, "a full disk while the journal grows stops the broker"),
    (89, "a folder is named by its topic's name alone"),
    (90, "a batch that ends where the log starts is kept"),
    (
        91,
        "a fetch that waits for a partition is not told that it was removed",
    ),
    (92, "what fits overtakes what waits for room"),
    (93, "DeleteRecords goes beyond the high watermark"),
    (94, "a fetch gives batches above the high watermark"),
    (
        95,
        "a batch that is sent again is acknowledged before the first one is durable",
    ),
    (
        96,
        "a batch that is in the log already is refused for want of room",
    ),
    (97, "no manifest says that segments were dropped"),
    (98, "a shard goes on waking a fetch that is over"),
    (99, "a read that the log start has overtaken is answered"),
    (
        100,
        "the ring's last pages take a block while a write-behind could add to it",
    ),
    (101, "the block that names a folder to be removed is freed"),
    (102, "an idle shard attests nothing"),
    (103, "producers are forgotten after a second"),
    (104, "the ring's freed blocks are never taken back"),
    (105, "a manifest takes one offset too much out of the tail"),
    (
        106,
        "files of dropped segments are forgotten before their removal is durable",
    ),
    (
        107,
        "a removed partition is forgotten before its folder's removal is durable",
    ),
    (
        108,
        "the first batch of a carried tail is taken for one in its old block",
    ),
    (110, "the ring is larger before its file is"),
    (111, "a block that was not synced counts as durable"),
    (
        112,
        "a topic that opts out of syncing is synced a record late",
    ),
    (
        113,
        "a failed write-behind leaves what it said of its segments",
    ),
    (
        114,
        "a connection that waited for its socket is not listed again",
    ),
    (115, "calls of a connection that is gone stay parked"),
    (116, "a call whose time is up is not answered"),
    (
        117,
        "a fetch for which there is little room waits for all that it wants",
    ),
    (
        118,
        "what moved while a fetch was looked at does not wake it",
    ),
    (
        119,
        "every partition of a fetch gives a batch beyond its limit",
    ),
    (
        120,
        "a fetch of several partitions does not wait for the first",
    ),
    (121, "a producer id is given out twice"),
    (122, "the first producer id of a block is given out twice"),
    (
        123,
        "a partition that moves is dropped before it is durable in its new home",
    ),
    (124, "the files of a partition that moved are removed"),
    (125, "a shard stops although others may ask it something"),
    (
        126,
        "an ask does not wait for the metadata that its asker acted on",
    ),
    (127, "a leader goes on in the epoch of its last life"),
    (
        128,
        "asks that wait for metadata are looked at only with the first of it",
    ),
    (140, "files that no journal lists are removed unread"),
    (
        141,
        "a folder is not looked through where no tail was read back",
    ),
    (
        142,
        "files that a manifest names are removed though a segment may have taken the name since",
    ),
];
