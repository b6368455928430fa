//! The `gantry-producer` program. Everything is in the library.

fn main() -> std::process::ExitCode {
    gantry_producer::process::main()
}
