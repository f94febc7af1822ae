//! Owns the wall clock that one process sees: a small library that is loaded before the system's, and adds to the time of
//! day what a file says. The monotonic clock stays as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long *shift;
static int (*of_system)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    of_system = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("WALL_CLOCK_SHIFT");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *map = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) shift = map;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!of_system) begin();
    int result = of_system(clock, time);
    if (result == 0 && shift && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += *shift;
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec now;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    if (result == 0 && time) { time->tv_sec = now.tv_sec; time->tv_usec = now.tv_nsec / 1000; }
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return (time_t)-1;
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"#;

/// Compiles the library; nothing, and a word about it, when there is no C compiler.
pub(crate) fn library(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("wall_clock.c"), folder.join("wall_clock.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    if built.is_ok_and(|status| status.success()) {
        return Some(library);
    }
    println!("SKIPPED: jumps of the wall clock: the library that makes them cannot be compiled (is there a cc?)");
    None
}

/// The wall clock of one process.
pub(crate) struct WallClock {
    shift: PathBuf,
    library: PathBuf,
}

impl WallClock {
    /// A clock that goes right so far.
    pub(crate) fn new(folder: &Path, library: &Path) -> Self {
        let clock = Self { shift: folder.join("wall_clock_shift"), library: library.to_owned() };
        clock.jump_to(0);
        clock
    }

    /// Is so many seconds ahead from now on.
    pub(crate) fn jump_to(&self, seconds: i64) {
        // Written in place: the process has the file mapped.
        let file = std::fs::File::options().create(true).truncate(false).write(true).open(&self.shift).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &seconds.to_ne_bytes(), 0).unwrap();
    }

    /// What the process must be started with.
    pub(crate) fn environment(&self) -> [(String, String); 2] {
        [("LD_PRELOAD", &self.library), ("WALL_CLOCK_SHIFT", &self.shift)]
            .map(|(key, path)| (key.to_owned(), path.display().to_string()))
    }
}
