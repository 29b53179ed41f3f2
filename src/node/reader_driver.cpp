// Readers: waiting for chunks, holding the tail, reading on the worker pool.
#include "node/reader_driver.hpp"

#include "base/assert.hpp"
#include "node/early_bytes.hpp"

#include <algorithm>
#include <utility>

namespace waggle::node {

mirror::MirrorError error_of(transfer::SwarmError error) {
  switch (error) {
    case transfer::SwarmError::not_found:
      return mirror::MirrorError::not_found;
    case transfer::SwarmError::unauthorized:
      return mirror::MirrorError::no_credential;
    case transfer::SwarmError::too_large:
      return mirror::MirrorError::too_large;
    case transfer::SwarmError::unreachable:
    case transfer::SwarmError::bad_upstream:
    case transfer::SwarmError::unsupported:
    case transfer::SwarmError::store_failed:
      return mirror::MirrorError::unavailable;
  }
  return mirror::MirrorError::unavailable;
}

LocalReader::LocalReader(cache::BlobHandle blob, const Digest& digest, ops::Protocol protocol,
                         ContentDriver& content)
    : blob_(std::move(blob)), digest_(digest), protocol_(protocol), content_(content) {}

LocalReader::~LocalReader() {
  *alive_ = false;
  content_.deps_.distributor.release(content_.deps_.now(), digest_);
}

void LocalReader::async_open(mirror::Callback<mirror::BlobInfo> done) {
  done(mirror::BlobInfo{blob_->size(), mirror::Source::local});
}

void LocalReader::async_read(std::uint64_t offset, MutableByteView buffer,
                             mirror::Callback<std::size_t> done) {
  const auto bytes = std::min<std::uint64_t>(buffer.size(), blob_->size() - offset);
  auto scratch = std::make_shared<Bytes>(bytes);
  content_.deps_.payload.read(
      blob_, offset, *scratch,
      [this, alive = alive_, scratch, buffer, done = std::move(done)](Result<void> read) {
        if (!*alive) return;
        if (!read) return done(read.error());
        std::copy(scratch->begin(), scratch->end(), buffer.begin());
        content_.deps_.metrics.add_bytes(protocol_, ops::ByteSource::local, scratch->size());
        done(scratch->size());
      });
}

void LocalReader::file_bytes_sent(std::uint64_t bytes) {
  content_.deps_.metrics.add_bytes(protocol_, ops::ByteSource::local, bytes);
}

SizeReader::SizeReader(ContentDriver& content, mirror::BlobRequest request)
    : content_(content), request_(std::move(request)) {}

SizeReader::~SizeReader() { *alive_ = false; }

void SizeReader::async_open(mirror::Callback<mirror::BlobInfo> done) {
  content_.async_size(request_, [alive = alive_, done = std::move(done)](auto result) {
    if (*alive) done(std::move(result));
  });
}

void SizeReader::async_read(std::uint64_t, MutableByteView, mirror::Callback<std::size_t> done) {
  done(mirror::MirrorError::unavailable);
}

SwarmReader::SwarmReader(ContentDriver& content, SwarmId swarm, ReaderId id,
                         const mirror::RangeSpec* range, bool lazy)
    : content_(content), swarm_(swarm), id_(id), lazy_(lazy) {
  if (range != nullptr) range_ = *range;
  if (range_ && range_->kind != mirror::RangeSpec::Kind::suffix) offset_ = range_->first;
  content_.readers_[id] = this;
  content_.swarms_[swarm].readers.insert(id);
  content_.deps_.input([this](TimePoint now, transfer::Exchange& exchange) {
    exchange.add_reader(now, swarm_, id_, offset_, lazy_);
  });
}

SwarmReader::~SwarmReader() {
  *alive_ = false;
  content_.readers_.erase(id_);
  const auto swarm = content_.swarms_.find(swarm_);
  if (swarm != content_.swarms_.end()) swarm->second.readers.erase(id_);
  content_.forget_if_done(swarm_);
  content_.deps_.input([this](TimePoint now, transfer::Exchange& exchange) {
    exchange.remove_reader(now, swarm_, id_);
  });
}

void SwarmReader::async_open(mirror::Callback<mirror::BlobInfo> done) {
  opening_ = std::move(done);
  advance();
}

void SwarmReader::async_read(std::uint64_t offset, MutableByteView buffer,
                             mirror::Callback<std::size_t> done) {
  buffer_ = buffer;
  reading_ = std::move(done);
  move(offset);
}

void SwarmReader::async_locate(std::uint64_t offset, std::uint64_t size_max,
                               mirror::Callback<mirror::FileSpan> done) {
  span_bytes_max_ = size_max;
  locating_ = std::move(done);
  move(offset);
}

void SwarmReader::move(std::uint64_t offset) {
  offset_ = offset;
  content_.deps_.input([this](TimePoint now, transfer::Exchange& exchange) {
    exchange.move_reader(now, swarm_, id_, offset_);
  });
  advance();
}

std::uint64_t SwarmReader::readable_until(const ContentDriver::Swarm& swarm,
                                          std::uint64_t offset) const {
  const bool holds_tail =
      !lazy_ &&
      (!range_ || (range_->kind != mirror::RangeSpec::Kind::suffix && range_->first == 0));
  EarlyRule rule = holds_tail ? EarlyRule::all_but_tail : EarlyRule::all;
  if (swarm.tainted) rule = EarlyRule::nothing;
  if (swarm.proven) rule = EarlyRule::all;
  return early_until(*swarm.layout, swarm.present, offset, rule);
}

void SwarmReader::advance() {
  if (busy_) return;
  const auto found = content_.swarms_.find(swarm_);
  if (error_ || found == content_.swarms_.end()) {
    const auto error = error_.value_or(mirror::MirrorError::unavailable);
    // One of the three is waiting at most; each is told once.
    if (opening_)
      std::exchange(opening_, nullptr)(error);
    else if (reading_)
      std::exchange(reading_, nullptr)(error);
    else if (locating_)
      std::exchange(locating_, nullptr)(error);
    return;
  }
  const ContentDriver::Swarm& swarm = found->second;
  if (!swarm.layout) return;
  if (opening_) return finish_open(swarm);
  if (!reading_ && !locating_) return;
  const std::uint64_t end = readable_until(swarm, offset_);
  if (end <= offset_) return;
  if (reading_) return start_read(std::min<std::uint64_t>(end - offset_, buffer_.size()));
  start_locate(std::min(end - offset_, span_bytes_max_));
}

void SwarmReader::finish_open(const ContentDriver::Swarm& swarm) {
  const BlobLayout& layout = *swarm.layout;
  if (range_ && range_->kind == mirror::RangeSpec::Kind::suffix) {
    const std::uint64_t from = layout.size() - std::min(layout.size(), range_->length);
    if (std::exchange(offset_, from) != from) {
      content_.deps_.input([this](TimePoint now, transfer::Exchange& exchange) {
        exchange.move_reader(now, swarm_, id_, offset_);
      });
    }
  }
  mirror::BlobInfo info{layout.size(), mirror::Source::local};
  // A range beyond the end is answered by the size alone; an empty blob needs its proof only.
  if (offset_ < layout.size()) {
    if (readable_until(swarm, offset_) == offset_) return;
    switch (swarm.sources[to_value(layout.chunk_at(offset_))]) {
      case transfer::ChunkSource::local:
        info.source = mirror::Source::local;
        break;
      case transfer::ChunkSource::peer:
        info.source = mirror::Source::peer;
        break;
      case transfer::ChunkSource::upstream:
        info.source = mirror::Source::upstream;
        break;
    }
  } else if (layout.size() == 0 && !swarm.proven) {
    return;
  }
  std::exchange(opening_, nullptr)(info);
}

void SwarmReader::start_read(std::uint64_t bytes) {
  if (auto current = content_.deps_.payload.partial(swarm_)) partial_ = std::move(current);
  if (!partial_) return fail(mirror::MirrorError::unavailable);
  busy_ = true;
  auto scratch = std::make_shared<Bytes>(bytes);
  content_.deps_.payload.read(partial_, offset_, *scratch,
                              [this, alive = alive_, scratch](Result<void> read) {
                                if (!*alive) return;
                                busy_ = false;
                                if (!read) return fail(read.error());
                                if (error_) return advance();
                                std::copy(scratch->begin(), scratch->end(), buffer_.begin());
                                gave_bytes_ = true;
                                std::exchange(reading_, nullptr)(scratch->size());
                              });
}

void SwarmReader::start_locate(std::uint64_t bytes) {
  if (auto current = content_.deps_.payload.partial(swarm_)) partial_ = std::move(current);
  if (!partial_) return fail(mirror::MirrorError::unavailable);
  if (partial_->is_checked(offset_, bytes)) return located({}, bytes);
  busy_ = true;
  content_.deps_.payload.check(partial_, offset_, bytes,
                               [this, alive = alive_, bytes](Result<void> checked) {
                                 if (!*alive) return;
                                 busy_ = false;
                                 located(checked, bytes);
                               });
}

void SwarmReader::located(Result<void> checked, std::uint64_t bytes) {
  if (!checked) return fail(checked.error());
  if (error_) return advance();
  gave_bytes_ = true;
  located_ = partial_;
  std::exchange(locating_, nullptr)(mirror::FileSpan{located_->fd(), bytes});
}

void SwarmReader::discarded() {
  partial_.reset();
  if ((gave_bytes_ || busy_) && !error_) error_ = mirror::MirrorError::unavailable;
}

FetchFailure SwarmReader::failure() const {
  return error_ ? failure_ : content_.deps_.fetches.failure(swarm_);
}

std::string SwarmReader::refused() const { return failure().refused; }

boost::system::error_code SwarmReader::upstream_error() const { return failure().error; }

void SwarmReader::fail(const boost::system::error_code& error, FetchFailure failure) {
  if (!error_) {
    error_ = error;
    failure_ = std::move(failure);
    // "Nobody here has a credential" also stands for a host that this node refuses.
    if (error == mirror::MirrorError::no_credential && !failure_.refused.empty())
      error_ = failure_.error;
  }
  advance();
}

}  // namespace waggle::node
