//! What is parked, through restarts, reconfigures and second thoughts.
