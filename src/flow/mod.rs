//! Stage 3: which connection a segment belongs to.
//!
//! In: a segment's ends. Out: the place of its connection in a bounded table. Knows nothing of what a
//! connection carries.

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
pub use triage::{Admission, Interest, SegmentHead, Triage};
