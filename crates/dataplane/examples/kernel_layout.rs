//! Prints the header that the kernel program shares with this crate, for `cargo xtask bpf`.

fn main() {
    print!("{}", postern_dataplane::kernel::layout::header());
}
