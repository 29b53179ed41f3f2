// Appending and rewriting.
#include "node/told_log_driver.hpp"

#include "base/limits.hpp"
#include "base/siphash.hpp"
#include "node/state_files_driver.hpp"

#include <algorithm>

#include <fcntl.h>
#include <unistd.h>

namespace waggle::node {
namespace {

constexpr std::string_view magic = "waggle-told-1\n";
constexpr std::size_t growth_before_rewrite = 4;
constexpr std::size_t rewrite_bytes_min = 256 * limits::KiB;

Bytes header_of(const std::string& cluster_name) {
  Bytes header = to_bytes(as_bytes(magic));
  append(header, IdKey::for_cluster(cluster_name).bytes);  // ids of another cluster mean nothing
  return header;
}

}  // namespace

Result<ToldLogFile> ToldLogFile::open(const std::string& data_dir,
                                      const std::string& cluster_name) {
  ToldLogFile file(data_dir + "/told", header_of(cluster_name));
  const auto content = read_file(file.path_, limits::told_file_bytes_max);
  const bool is_absent =
      !content && content.error() == boost::system::errc::no_such_file_or_directory;
  if (!content && !is_absent && content.error() != BaseError::limit_exceeded) {
    return content.error();
  }
  if (content) {
    const ByteView bytes = as_bytes(*content);
    const std::size_t begin = file.header_.size();
    const bool is_ours = bytes.size() >= begin &&
                         std::equal(file.header_.begin(), file.header_.end(), bytes.begin());
    if (is_ours) file.state_ = read_told(bytes.subspan(begin)).state;
  }
  if (const auto written = file.rewrite(); !written) return written.error();
  return file;
}

Result<void> ToldLogFile::append(const gossip::LogTold& change) {
  state_.apply(change);
  const Bytes bytes = encode_told(change);
  if (!file_.is_open() || bytes_ + bytes.size() > rewrite_at_) return rewrite();
  if (::write(file_.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    // What follows half a change would not be read: the whole is written at the next one.
    const auto error = last_system_error();
    file_.reset();
    return error;
  }
  bytes_ += bytes.size();
  return {};
}

Result<void> ToldLogFile::rewrite() {
  file_.reset();  // after an error the next change writes the whole again
  Bytes content = header_;
  if (state_.log()) waggle::append(content, encode_told(state_.whole()));
  const std::string text(reinterpret_cast<const char*>(content.data()), content.size());
  if (const auto written = write_file_atomically(path_, text, 0644); !written) return written;
  file_.reset(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (!file_.is_open()) return last_system_error();
  bytes_ = content.size();
  rewrite_at_ = std::max(rewrite_bytes_min, growth_before_rewrite * content.size());
  return {};
}

}  // namespace waggle::node
