// What stands above a code in `chosen` where a mask leaves weights out (src/kernels/mark-columns.ts): the group of its row whose scale it has, in bits 8 to 29.
const GONE = 0x80000000u;   // the mask leaves the weight out: it is to be 0
const ABSENT = 0x40000000u; // it is not stored either, so that it is 0 exactly and has no code

fn group_of(mark: u32) -> u32 {
  return (mark & 0x3fffffffu) >> 8u;
}
