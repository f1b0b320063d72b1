const SIDE = 16u;
