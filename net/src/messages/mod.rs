//! Every request and response, stated once over a codec, on the core's own types.

mod admin;
mod data;
mod metadata;
mod sasl;
mod versions;

pub use metadata::Address;
pub use sasl::refuse as refuse_sasl;
pub use versions::{api_versions_request, api_versions_response};

use seedlog_core::api::{Request, Response};
use seedlog_core::codec::{Codec, Visit};

/// A number that stands on the wire from `version` on, and is -1 where it does not.
fn since<C: Codec, T: From<i8>>(
    version: i16,
    c: &mut C,
    value: &mut T,
    visit: fn(&mut C, &mut T) -> Visit,
) -> Visit {
    if c.version() >= version {
        return visit(c, value);
    }
    if c.reading() {
        *value = T::from(-1);
    }
    Ok(())
}

/// Visit a request of the API `key`: read into, or write from, `request`.
pub fn request<C: Codec>(c: &mut C, request: &mut Request) -> Visit {
    match request {
        Request::Produce(message) => data::produce_request(c, message),
        Request::Fetch(message) => data::fetch_request(c, message),
        Request::ListOffsets(message) => data::list_offsets_request(c, message),
        Request::OffsetForLeaderEpoch(message) => data::epoch_request(c, message),
        Request::InitProducerId(message) => data::init_producer_id_request(c, message),
        Request::Metadata(message) => metadata::request(c, message),
        Request::CreateTopics(message) => admin::create_topics_request(c, message),
        Request::DeleteTopics(message) => admin::delete_topics_request(c, message),
        Request::CreatePartitions(message) => admin::create_partitions_request(c, message),
        Request::DeleteRecords(message) => admin::delete_records_request(c, message),
        Request::FindCoordinator(message) => admin::find_coordinator_request(c, message),
    }
}

/// Visit a response. `address` stands in where the broker did not say how it is reached.
pub fn response<C: Codec>(c: &mut C, response: &mut Response, address: &Address) -> Visit {
    match response {
        Response::Nothing => Ok(()),
        Response::Produce(message) => data::produce_response(c, message),
        Response::Fetch(message) => data::fetch_response(c, message, address),
        Response::ListOffsets(message) => data::list_offsets_response(c, message),
        Response::OffsetForLeaderEpoch(message) => data::epoch_response(c, message),
        Response::InitProducerId(message) => data::init_producer_id_response(c, message),
        Response::Metadata(message) => metadata::response(c, message, address),
        Response::CreateTopics(message) => admin::create_topics_response(c, message),
        Response::DeleteTopics(message) => admin::delete_topics_response(c, message),
        Response::CreatePartitions(message) => admin::create_partitions_response(c, message),
        Response::DeleteRecords(message) => admin::delete_records_response(c, message),
        Response::FindCoordinator(message) => admin::find_coordinator_response(c, message),
    }
}

/// An empty request of this API, to read into.
pub fn blank_request(key: i16) -> Option<Request> {
    Some(match key {
        0 => Request::Produce(Default::default()),
        1 => Request::Fetch(Default::default()),
        2 => Request::ListOffsets(Default::default()),
        3 => Request::Metadata(Default::default()),
        10 => Request::FindCoordinator(Default::default()),
        19 => Request::CreateTopics(Default::default()),
        20 => Request::DeleteTopics(Default::default()),
        21 => Request::DeleteRecords(Default::default()),
        22 => Request::InitProducerId(Default::default()),
        23 => Request::OffsetForLeaderEpoch(Default::default()),
        37 => Request::CreatePartitions(Default::default()),
        _ => return None,
    })
}

/// An empty response of this API, to read into.
pub fn blank_response(key: i16) -> Option<Response> {
    Some(match key {
        0 => Response::Produce(Default::default()),
        1 => Response::Fetch(Default::default()),
        2 => Response::ListOffsets(Default::default()),
        3 => Response::Metadata(Default::default()),
        10 => Response::FindCoordinator(Default::default()),
        19 => Response::CreateTopics(Default::default()),
        20 => Response::DeleteTopics(Default::default()),
        21 => Response::DeleteRecords(Default::default()),
        22 => Response::InitProducerId(Default::default()),
        23 => Response::OffsetForLeaderEpoch(Default::default()),
        37 => Response::CreatePartitions(Default::default()),
        _ => return None,
    })
}

/// The API key of a request.
pub fn key_of(request: &Request) -> i16 {
    match request {
        Request::Produce(_) => 0,
        Request::Fetch(_) => 1,
        Request::ListOffsets(_) => 2,
        Request::Metadata(_) => 3,
        Request::FindCoordinator(_) => 10,
        Request::CreateTopics(_) => 19,
        Request::DeleteTopics(_) => 20,
        Request::DeleteRecords(_) => 21,
        Request::InitProducerId(_) => 22,
        Request::OffsetForLeaderEpoch(_) => 23,
        Request::CreatePartitions(_) => 37,
    }
}
