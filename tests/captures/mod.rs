//! What is found in each capture of the project, and in captures made from them.

mod addresses;
mod claims;
mod golden;
mod ladders;
mod links;
mod message_order;
mod names;
mod rules;
mod rules_conn;
mod rules_epmd;
mod synthetic;
