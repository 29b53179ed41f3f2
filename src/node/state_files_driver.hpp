// The small files of data_dir that are not content: identity, incarnation; and the cluster keys.
#pragma once

#include "base/error.hpp"
#include "base/identity.hpp"
#include "base/keys.hpp"
#include "base/random_source.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace waggle::node {

/// The whole of a file of at most `bytes_max`. Errors: the system's, limit_exceeded.
[[nodiscard]] Result<std::string> read_file(const std::string& path, std::size_t bytes_max);
/// Replaces `path` so that a crash leaves the old or the new content: temporary file, fsync,
/// rename, fsync.
[[nodiscard]] Result<void> write_file_atomically(const std::string& path,
                                                 const std::string& content, unsigned mode);

/// Makes the directory that `path` lies in, if its parent exists. Failing shows when the file is
/// made.
void make_parent_directory(const std::string& path);

/// Loads data_dir/identity (64 hex digits), making one at the first start.
/// Throws StartError when it is unreadable: an identity is never replaced silently.
[[nodiscard]] Identity load_identity(const std::string& data_dir, RandomSource& random);

/// max(persisted + 1, wall_ms), persisted before it is returned. Throws StartError.
[[nodiscard]] std::uint64_t next_incarnation(const std::string& data_dir, std::uint64_t wall_ms);
[[nodiscard]] Result<void> save_incarnation(const std::string& data_dir, std::uint64_t incarnation);

/// Reads 1 or 2 key files. Throws StartError naming the file and what to do: it cannot be read,
/// holds no key, or a key of the same name as the other file's.
/// @param place  where the configuration names them, for the message
[[nodiscard]] KeyRing load_keys(const std::vector<std::string>& files, const std::string& place);

}  // namespace waggle::node
