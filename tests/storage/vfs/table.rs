//! The VFS as SQLite sees it: a table of C functions, each of which asks whether it is to fail, and else calls the
//! system's.
#![allow(unsafe_code, reason = "a VFS is a table of C functions")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::size_of;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix_sqlite::rusqlite::ffi;

use super::{Call, NAME, Op, SYNC_DELAY, failure, record, state};

/// Ours, with SQLite's own file right behind it.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    number: usize,
}

/// The file of the system's VFS.
///
/// # Safety
/// `file` was opened by [`open`].
unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    unsafe { file.byte_add(size_of::<File>()) }
}

/// Calls a method of the file of the system's VFS.
macro_rules! pass {
    ($file:ident, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: SQLite calls methods only on files that `open` opened, and so did the VFS below it.
        unsafe {
            let real = real($file);
            (*(*real).pMethods).$method.map_or(ffi::SQLITE_IOERR, |method| method(real $(, $argument)*))
        }
    }};
}

extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xClose)
}

extern "C" fn read(file: *mut ffi::sqlite3_file, data: *mut c_void, size: c_int, offset: i64) -> c_int {
    failure(Call::Read).unwrap_or_else(|| pass!(file, xRead, data, size, offset))
}

extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, size: c_int, offset: i64) -> c_int {
    if let Some(code) = failure(Call::Write) {
        return code;
    }
    if state().full && grows(file, size, offset) {
        return ffi::SQLITE_FULL;
    }
    record(|| {
        // SAFETY: SQLite passes `size` bytes at `data`; `file` is ours.
        let (bytes, file) = unsafe {
            let size = usize::try_from(size).unwrap_or(0);
            (std::slice::from_raw_parts(data.cast::<u8>(), size), (*file.cast::<File>()).number)
        };
        Op::Write { file, offset: usize::try_from(offset).unwrap_or(0), data: bytes.to_vec() }
    });
    pass!(file, xWrite, data, size, offset)
}

/// Whether a write to this place makes the file longer.
fn grows(file: *mut ffi::sqlite3_file, size: c_int, offset: i64) -> bool {
    let mut length = 0;
    let known = pass!(file, xFileSize, &raw mut length);
    known != ffi::SQLITE_OK || offset + i64::from(size) > length
}

extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    if let Some(code) = failure(Call::Truncate) {
        return code;
    }
    // SAFETY: `file` is ours.
    let number = unsafe { (*file.cast::<File>()).number };
    record(|| Op::Truncate { file: number, size: usize::try_from(size).unwrap_or(0) });
    pass!(file, xTruncate, size)
}

extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    if let Some(code) = failure(Call::Sync) {
        return code;
    }
    let delay = SYNC_DELAY.load(Relaxed);
    if delay > 0 {
        std::thread::sleep(Duration::from_micros(delay));
    }
    let result = pass!(file, xSync, flags);
    // SAFETY: `file` is ours.
    let number = unsafe { (*file.cast::<File>()).number };
    record(|| Op::Sync { file: number });
    result
}

extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    failure(Call::Size).unwrap_or_else(|| pass!(file, xFileSize, size))
}

extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass!(file, xLock, level)
}

extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass!(file, xUnlock, level)
}

extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, result: *mut c_int) -> c_int {
    pass!(file, xCheckReservedLock, result)
}

extern "C" fn file_control(file: *mut ffi::sqlite3_file, op: c_int, argument: *mut c_void) -> c_int {
    pass!(file, xFileControl, op, argument)
}

extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xSectorSize)
}

extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xDeviceCharacteristics)
}

extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    memory: *mut *mut c_void,
) -> c_int {
    failure(Call::Memory).unwrap_or_else(|| pass!(file, xShmMap, region, size, extend, memory))
}

extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    // To let go of a lock never fails.
    let fails = if flags & ffi::SQLITE_SHM_LOCK == 0 { None } else { failure(Call::MemoryLock) };
    fails.unwrap_or_else(|| pass!(file, xShmLock, offset, count, flags))
}

extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as in `pass!`.
    unsafe {
        let real = real(file);
        if let Some(barrier) = (*(*real).pMethods).xShmBarrier {
            barrier(real);
        }
    }
}

extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    pass!(file, xShmUnmap, delete)
}

/// Version 2: with shared memory for the WAL, without memory mapping, which would go past `read`.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives room for `szOsFile` bytes at `file`, which is ours and the one behind it; `pAppData` was set
    // to the system's VFS in `register`.
    unsafe {
        (*file).pMethods = std::ptr::null();
        if let Some(code) = failure(Call::Open) {
            return code;
        }
        let below = (*vfs).pAppData.cast::<ffi::sqlite3_vfs>();
        let result = (*below)
            .xOpen
            .map_or(ffi::SQLITE_CANTOPEN, |open| open(below, name, real(file), flags, flags_out));
        if result != ffi::SQLITE_OK {
            return result;
        }
        let name =
            if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() };
        let mut state = state();
        let known = state.names.iter().position(|known| *known == name);
        (*file.cast::<File>()).number = known.unwrap_or_else(|| {
            state.names.push(name);
            state.names.len() - 1
        });
        (*file).pMethods = &raw const METHODS;
    }
    ffi::SQLITE_OK
}

/// Puts the VFS beside the system's; everything but files is the system's.
pub(super) fn register() {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(|| {
        let name = CString::new(NAME).expect("no NUL in it").into_raw();
        // SAFETY: the system's VFS lives for ever, and so do ours and its name, which are leaked.
        unsafe {
            let below = ffi::sqlite3_vfs_find(std::ptr::null());
            let mut ours = std::ptr::read(below);
            ours.szOsFile += c_int::try_from(size_of::<File>()).expect("a small struct");
            ours.zName = name;
            ours.pNext = std::ptr::null_mut();
            ours.xOpen = Some(open);
            // The other functions of the system's VFS are called with our table, and look only at `pAppData` of it,
            // which must stay what it was; so the table is wrapped, not changed.
            ours.pAppData = below.cast();
            ours.xDelete = Some(delete);
            ours.xAccess = Some(access);
            ours.xFullPathname = Some(full_pathname);
            let result = ffi::sqlite3_vfs_register(Box::into_raw(Box::new(ours)), 0);
            assert_eq!(result, ffi::SQLITE_OK);
        }
    });
}

/// Calls a function of the system's VFS with its own table.
macro_rules! pass_vfs {
    ($vfs:ident, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: `pAppData` was set to the system's VFS in `register`.
        unsafe {
            let below = (*$vfs).pAppData.cast::<ffi::sqlite3_vfs>();
            (*below).$method.map_or(ffi::SQLITE_IOERR, |method| method(below $(, $argument)*))
        }
    }};
}

extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    if let Some(code) = failure(Call::Delete) {
        return code;
    }
    let result = pass_vfs!(vfs, xDelete, name, sync_directory);
    // SAFETY: SQLite passes a name that ends with a NUL.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let mut state = state();
    let known = state.names.iter().position(|known| **known == *name);
    if let (Some(file), Some(log)) = (known, &mut state.log) {
        // An empty journal is as good as none; that the directory forgets it in time is not what is tested here.
        log.extend([Op::Truncate { file, size: 0 }, Op::Sync { file }]);
    }
    drop(state);
    result
}

extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    result: *mut c_int,
) -> c_int {
    failure(Call::Access).unwrap_or_else(|| pass_vfs!(vfs, xAccess, name, flags, result))
}

extern "C" fn full_pathname(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    size: c_int,
    full: *mut c_char,
) -> c_int {
    pass_vfs!(vfs, xFullPathname, name, size, full)
}
