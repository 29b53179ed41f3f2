// The one place that includes msgpack-c; its exceptions end here.
#include "base/msg.hpp"

#include <msgpack.hpp>

namespace waggle {
namespace {

struct Sink {
  Bytes& out;
  void write(const char* data, std::size_t size) { append(out, as_bytes({data, size})); }
};

msgpack::packer<Sink> packer(Sink& sink) { return msgpack::packer<Sink>(sink); }

}  // namespace

MsgWriter& MsgWriter::array(std::size_t size) {
  Sink sink{out_};
  packer(sink).pack_array(static_cast<std::uint32_t>(size));
  return *this;
}
MsgWriter& MsgWriter::uint(std::uint64_t value) {
  Sink sink{out_};
  packer(sink).pack_uint64(value);
  return *this;
}
MsgWriter& MsgWriter::boolean(bool value) {
  Sink sink{out_};
  if (value) {
    packer(sink).pack_true();
  } else {
    packer(sink).pack_false();
  }
  return *this;
}
MsgWriter& MsgWriter::nil() {
  Sink sink{out_};
  packer(sink).pack_nil();
  return *this;
}
MsgWriter& MsgWriter::str(std::string_view value) {
  Sink sink{out_};
  packer(sink)
      .pack_str(static_cast<std::uint32_t>(value.size()))
      .pack_str_body(value.data(), static_cast<std::uint32_t>(value.size()));
  return *this;
}
MsgWriter& MsgWriter::bin(ByteView value) {
  Sink sink{out_};
  packer(sink)
      .pack_bin(static_cast<std::uint32_t>(value.size()))
      .pack_bin_body(as_text(value).data(), static_cast<std::uint32_t>(value.size()));
  return *this;
}

struct MsgReader::Document {
  msgpack::zone zone;
  msgpack::object root;
};

MsgReader MsgReader::parse(ByteView input, const MsgLimits& limits) {
  MsgReader reader;
  auto document = std::make_shared<Document>();
  const msgpack::unpack_limit unpack_limit(limits.elements, 0, limits.str_bytes, limits.bin_bytes,
                                           0, limits.depth);
  try {
    std::size_t offset = 0;
    bool referenced = false;
    // Strings and bins point into `input` instead of being copied into the zone.
    document->root = msgpack::unpack(
        document->zone, as_text(input).data(), input.size(), offset, referenced,
        [](msgpack::type::object_type, std::size_t, void*) { return true; }, nullptr, unpack_limit);
    if (offset != input.size() || document->root.type != msgpack::type::ARRAY) {
      reader.fail(BaseError::malformed);
      return reader;
    }
  } catch (const msgpack::insufficient_bytes&) {
    reader.fail(BaseError::truncated);
    return reader;
  } catch (const msgpack::size_overflow&) {
    reader.fail(BaseError::limit_exceeded);
    return reader;
  } catch (const msgpack::unpack_error&) {
    reader.fail(BaseError::malformed);
    return reader;
  }
  reader.elements_ = document->root.via.array.ptr;
  reader.size_ = document->root.via.array.size;
  reader.document_ = std::move(document);
  return reader;
}

const void* MsgReader::element() {
  if (error_) return nullptr;
  if (next_ >= size_) {
    fail(BaseError::truncated);
    return nullptr;
  }
  return static_cast<const msgpack::object*>(elements_) + next_++;
}

std::uint64_t MsgReader::uint(std::uint64_t max) {
  const auto* object = static_cast<const msgpack::object*>(element());
  if (object == nullptr) return 0;
  if (object->type != msgpack::type::POSITIVE_INTEGER) {
    fail(BaseError::malformed);
    return 0;
  }
  if (object->via.u64 > max) {
    fail(BaseError::limit_exceeded);
    return 0;
  }
  return object->via.u64;
}

bool MsgReader::boolean() {
  const auto* object = static_cast<const msgpack::object*>(element());
  if (object == nullptr) return false;
  if (object->type != msgpack::type::BOOLEAN) fail(BaseError::malformed);
  return ok() && object->via.boolean;
}

bool MsgReader::next_is_nil() {
  if (!ok() || next_ >= size_) return false;
  const auto* object = static_cast<const msgpack::object*>(elements_) + next_;
  if (object->type != msgpack::type::NIL) return false;
  ++next_;
  return true;
}

std::string_view MsgReader::str() {
  const auto* object = static_cast<const msgpack::object*>(element());
  if (object == nullptr) return {};
  if (object->type != msgpack::type::STR) {
    fail(BaseError::malformed);
    return {};
  }
  return {object->via.str.ptr, object->via.str.size};
}

ByteView MsgReader::bin() {
  const auto* object = static_cast<const msgpack::object*>(element());
  if (object == nullptr) return {};
  if (object->type != msgpack::type::BIN) {
    fail(BaseError::malformed);
    return {};
  }
  return as_bytes({object->via.bin.ptr, object->via.bin.size});
}

MsgReader MsgReader::array() {
  MsgReader child;
  const auto* object = static_cast<const msgpack::object*>(element());
  if (object == nullptr || object->type != msgpack::type::ARRAY) {
    fail(BaseError::malformed);
    child.fail(BaseError::malformed);
    return child;
  }
  child.document_ = document_;
  child.elements_ = object->via.array.ptr;
  child.size_ = object->via.array.size;
  return child;
}

}  // namespace waggle
