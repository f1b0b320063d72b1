const SIDE = 8u;
