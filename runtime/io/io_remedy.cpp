#include "runtime/io/io_remedy.h"

#include <cerrno>

namespace mfl::io {

std::string_view io_remedy(int error) {
  switch (error) {
    case ENOSPC: return " Free space there, or write to another file system.";
    case EDQUOT: return " The quota is used up: free space, have it raised, or write to another file system.";
    case EROFS: return " The file system is mounted read-only, as happens after errors of the disk: write to another one, or have it repaired.";
    case EACCES:
    case EPERM: return " Change the permissions of the folder, or write to another one.";
    case ENOTDIR: return " A file stands where a folder is needed: name another folder.";
    case EIO:
    case ESTALE: return " The disk or its network file system fails: see the kernel's log (dmesg), and write to another one.";
    case EFBIG: return " A limit on file sizes stands in the way (ulimit -f, or the file system's own).";
    case EMFILE:
    case ENFILE: return " Too many files are open: raise the limit (ulimit -n).";
    default: return "";
  }
}

}  // namespace mfl::io
