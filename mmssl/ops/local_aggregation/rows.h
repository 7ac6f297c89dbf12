// Rows of numbers, in tensors of any strides and on a workbench in the type of the sums, and how they move.

#pragma once

#include <cstdint>
#include <cstring>

struct bfloat16 {
  uint16_t bits;
};

template <typename A>
inline A widen(A value) {
  return value;
}
inline float widen(bfloat16 value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, 4);
  return wide;
}

template <typename A>
inline void narrow(A value, A& to) {
  to = value;
}
inline void narrow(float value, bfloat16& to) {  // to the nearest, halves to even
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const bool nan = (bits & 0x7fffffff) > 0x7f800000;
  to.bits = nan ? 0x7fc0 : uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Copies `bytes`, from one to two times `piece`, as two pieces that may overlap; else does nothing.
template <int piece>
inline bool copy_ends(const char* from, char* to, int64_t bytes) {
  if (bytes < piece || bytes > 2 * piece) return false;
  std::memcpy(to, from, piece);
  std::memcpy(to + bytes - piece, from + bytes - piece, piece);
  return true;
}

template <typename T>
inline void copy_row(const T* from, T* to, int64_t count) {
  const int64_t bytes = count * int64_t(sizeof(T));
  const char* source = reinterpret_cast<const char*>(from);
  char* target = reinterpret_cast<char*>(to);
  // rows of small maps take less time than a call
  if (!copy_ends<16>(source, target, bytes) && !copy_ends<32>(source, target, bytes))
    std::memcpy(target, source, size_t(bytes));
}
template <typename From, typename To>
inline void copy_row(const From* from, To* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) narrow(widen(from[i]), to[i]);
}

// Rows of several planes; strides count values.
template <typename T>
struct Rows {
  T* start;
  int64_t plane, row, step;

  Rows at(int64_t planes, int64_t rows, int64_t steps) const {
    return {start + planes * plane + rows * row + steps * step, plane, row, step};
  }
};

template <typename From, typename To>
void copy(Rows<From> from, Rows<To> to, int64_t planes, int64_t rows, int64_t columns) {
  for (int64_t plane = 0; plane < planes; ++plane)
    for (int64_t row = 0; row < rows; ++row) {
      const From* source = from.start + plane * from.plane + row * from.row;
      To* target = to.start + plane * to.plane + row * to.row;
      if (from.step == 1 && to.step == 1)
        copy_row(source, target, columns);
      else
        for (int64_t i = 0; i < columns; ++i) narrow(widen(source[i * from.step]), target[i * to.step]);
    }
}

// Copies to the workbench where the tensor is read, else to the tensor.
template <typename T, typename A>
void move(Rows<T> tensor, Rows<A> bench, bool read, int64_t planes, int64_t rows, int64_t columns) {
  if (read)
    copy(tensor, bench, planes, rows, columns);
  else
    copy(bench, tensor, planes, rows, columns);
}
