// One hash outstanding at a time: the states depend on each other.
#include "transfer/running_proof.hpp"

namespace waggle::transfer {

RunningProof::RunningProof(const Digest& digest, const BlobLayout& layout)
    : digest_(digest), layout_(layout), running_(sha256_initial_midstate()) {}

void RunningProof::add_link(ChunkIndex chunk, const Midstate& begin, std::optional<Midstate> end) {
  if (to_value(chunk) >= prefix_) links_[chunk] = Link{begin, end};
}

std::optional<RunningProof::Job> RunningProof::advance(const Bitfield& have) {
  while (verdict_ == Verdict::open && !hashing_ && prefix_ < layout_.chunk_count() &&
         have.test(prefix_)) {
    const auto link = links_.find(ChunkIndex{prefix_});
    if (link == links_.end() || link->second.begin != running_) {
      hashing_ = true;
      return Job{ChunkIndex{prefix_}, running_};
    }
    pass(link->second.end);
  }
  return std::nullopt;
}

void RunningProof::hashed(ChunkIndex chunk, std::optional<Midstate> end,
                          std::optional<Digest> digest) {
  if (!hashing_ || chunk != ChunkIndex{prefix_}) return;
  hashing_ = false;
  const bool is_last = prefix_ + 1 == layout_.chunk_count();
  if (!is_last && end) {
    pass(end);
  } else if (is_last && digest == digest_) {
    pass(std::nullopt);
  } else {
    verdict_ = Verdict::refuted;
  }
}

void RunningProof::pass(std::optional<Midstate> end) {
  links_.erase(ChunkIndex{prefix_});
  ++prefix_;
  if (end) {
    running_ = *end;
    midstates_.push_back(*end);
  } else {
    verdict_ = Verdict::proven;
  }
}

}  // namespace waggle::transfer
