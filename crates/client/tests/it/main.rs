//! The client against servers that play a script.

mod calls;
mod live;
mod scripted;
