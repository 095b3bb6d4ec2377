//! Which connection a segment belongs to, and whether that connection is followed.
//!
//! In: segments. Out: the identifier of a connection in a bounded table. Only `triage.rs` looks at a payload.

mod node_ports;
mod pending;
mod per_direction;
mod ports;
mod table;
mod triage;

pub use crate::decode::{Direction, FlowKey};
pub use node_ports::NodePorts;
pub use pending::{PendingTable, TcpOpening};
pub use per_direction::PerDirection;
pub use ports::PortSet;
pub use table::{FlowId, FlowTable};
pub use triage::{
    Admission, FirstPayload, Interest, SegmentHead, Triage, first_payload,
    is_of_use_to_followed_alone,
};
