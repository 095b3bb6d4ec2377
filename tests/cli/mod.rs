//! The program itself: arguments, output, files, exit status, the examples of README.md.

mod diff;
mod evidence;
mod explain;
mod program;
mod reading;
mod readme;
mod save;
