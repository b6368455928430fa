//! The shim of the `process` executor as a program of its own, for tests; `gantry` carries it as a hidden subcommand.

fn main() -> std::process::ExitCode {
    gantry_executor::process::shim::main(std::env::args_os().skip(1))
}
