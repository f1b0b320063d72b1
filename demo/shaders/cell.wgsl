// What is known of some weights next to each other, before and after: means, means of squares (the third of the differences), the share that a mask took.
struct Cell { means: vec2f, squares: vec3f, gone: f32 }
