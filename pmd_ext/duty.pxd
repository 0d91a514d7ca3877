# For whom a thread is in the library, and whose rings took its time for nothing (shield.pyx).
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    DUTY_SLOTS = 1022           # MAX_SLOTS
    # duty.serving: the slot that the library is called for, and how often that was said before
    SERVING_SLOT = 0xffff       # 1 + slot; 0: none
    SERVING_ONE = 0x10000
    # duty.doubts: of calls that sent nothing to a slot, though it was tried
    DOUBT = 1                   # the last was one: the next is timed
    SLOW = 8                    # added for each that took long; 1 is taken off for one that did not
    TOO_SLOW = 64

cdef struct duty:
    # the thread writes, the watchdog reads
    uint32_t serving
    # the thread alone
    uint8_t doubts[DUTY_SLOTS]
