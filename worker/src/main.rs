//! The `gantry-worker` program. Everything is in the library.

fn main() -> std::process::ExitCode {
    gantry_worker::process::main()
}
