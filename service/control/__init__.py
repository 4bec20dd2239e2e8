"""What a server tells of itself and lets be changed, by the Open Inference Protocol: plain values, no transport."""
