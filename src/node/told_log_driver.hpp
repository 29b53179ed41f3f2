// The file data_dir/told: what others were told that this node holds (told_log.hpp).
#pragma once

#include "base/descriptor_driver.hpp"
#include "base/error.hpp"
#include "node/told_log.hpp"

#include <string>

namespace waggle::node {

/// Appends each change as it comes, without fsync: a process that dies loses nothing, a machine
/// that loses power loses the last changes, and then others pull this node's set once. Rewritten at
/// the start and whenever it has grown to several times what it says.
class ToldLogFile {
 public:
  /// Reads data_dir/told, if it is there. A file of another cluster is the same as none.
  /// @return the system's error when it is there and cannot be read or written
  [[nodiscard]] static Result<ToldLogFile> open(const std::string& data_dir,
                                                const std::string& cluster_name);

  [[nodiscard]] std::optional<gossip::ToldLog> log() const { return state_.log(); }
  /// After an error the file is behind: the next start tells more than it has to.
  [[nodiscard]] Result<void> append(const gossip::LogTold& change);

 private:
  ToldLogFile(std::string path, Bytes header)
      : path_(std::move(path)), header_(std::move(header)) {}
  [[nodiscard]] Result<void> rewrite();

  std::string path_;
  Bytes header_;
  ToldLogState state_;
  Descriptor file_;
  std::size_t bytes_ = 0;
  std::size_t rewrite_at_ = 0;
};

}  // namespace waggle::node
