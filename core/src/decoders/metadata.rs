//! Records of the metadata ledger.

use bytes::Bytes;

use crate::metadata::{decode_records, encode_records, Image};

/// `decode_records`, and the image that the records fold to: it comes back from its own records.
pub fn metadata(input: &[u8]) {
    let Some(records) = decode_records(Bytes::copy_from_slice(input)) else {
        return;
    };
    assert_eq!(encode_records(&records), input, "records have one form");
    let mut image = Image::default();
    records.iter().for_each(|record| image.apply(record));
    let mut again = Image::default();
    let folded = image.records();
    folded.iter().for_each(|record| again.apply(record));
    assert_eq!(decode_records(encode_records(&folded)), Some(folded));
    if image.fault().is_none() {
        assert_eq!(again.fault(), None);
        assert_eq!(
            (&again.names, again.partitions),
            (&image.names, image.partitions)
        );
    }
    let totals = |image: &Image| (image.topics.clone(), image.next_producer_id);
    assert_eq!(totals(&image), totals(&again));
}
